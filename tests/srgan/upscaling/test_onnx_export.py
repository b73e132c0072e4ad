from __future__ import annotations

import importlib
import logging
from pathlib import Path
from types import ModuleType

import pytest
import torch

from ranksrgan.contracts.checkpoint import load_weights
from ranksrgan.contracts.errors import InternalError, InvalidInput, NotSupported
from ranksrgan.srgan.cli import main
from ranksrgan.srgan.generators.architectures import load_generator, save_generator
from ranksrgan.srgan.generators.srresnet import SRResNet
from ranksrgan.srgan.upscaling import onnx_export
from ranksrgan.srgan.upscaling.onnx_export import export_onnx
from tests.srgan.generators.test_every_generator import NETWORKS

# Those that torch's exporter causes in torch.
pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


#: Of what others than slow tests export, which takes seconds each: every scale from 2 on is among
#: them.
QUICK = {
    "srresnet x3",
    "msrresnet x2",
    "edsr x4",
    "fsrcnn x3",
    "imdn x2",
    "srgan_leftthomas x2",
    "fast_srgan x4",
}


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> ModuleType:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(NotSupported, match=r"onnx is not installed: .*\[onnx\]"):
        export_onnx(SRResNet(4, 1), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_the_model_makes_torch_s_pictures_of_any_size(
    weights_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    path = tmp_path / "model.onnx"
    assert main(["export-onnx", str(weights_file), "-o", str(path)]) == 0
    assert "srresnet x4, at most" in capsys.readouterr().out
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    network = load_generator(weights_file)
    for shape in ((1, 3, 1, 1), (2, 3, 31, 8)):
        images = torch.rand(shape)
        (made,) = session.run(["enlarged"], {"images": images.numpy()})
        with torch.no_grad():
            torch.testing.assert_close(torch.from_numpy(made), network(images), atol=1e-5, rtol=0)


def test_the_model_tells_what_it_is_and_not_where_it_was_made(
    weights_file: Path, tmp_path: Path
) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    save_generator(weights_file, load_generator(weights_file), {"step": 9})
    written = []
    for folder in ("a", "b"):
        path = tmp_path / folder / "model.onnx"
        assert main(["export-onnx", str(weights_file), "-o", str(path)]) == 0
        written.append(path.read_bytes())
    assert written[0] == written[1]
    for trace in (str(Path(onnx_export.__file__).parent), ".py", "torch.nn"):
        assert trace.encode() not in written[0]
    model = onnx.load_model_from_string(written[0])
    onnx.checker.check_model(model, full_check=True)
    assert {entry.key: entry.value for entry in model.metadata_props} == {
        "architecture": "srresnet",
        "options": '{"features": 4, "blocks": 1, "scale": 4}',
        "scale": "4",
        "weights": "small.safetensors",
        "sha256": load_weights(weights_file).sha256,
        "about": '{"step": 9}',
    }
    assert "float32 in [0, 1], to enlarged, (N, 3, 4 H, 4 W), which is not" in model.doc_string


def test_other_files_are_not_taken_for_models(
    weights_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.safetensors"
    other.write_text("somebody's")
    assert main(["export-onnx", str(weights_file), "-o", str(other)]) == 1
    assert capsys.readouterr().err == f"error: {other}: an ONNX model ends in .onnx\n"
    assert other.read_text() == "somebody's"
    with pytest.raises(InvalidInput, match=r"model: an ONNX model ends in \.onnx"):
        export_onnx(SRResNet(4, 1), tmp_path / "model")
    folder = tmp_path / "folder.onnx"
    folder.mkdir()
    with pytest.raises(InvalidInput, match=r"folder\.onnx is a folder: name a file with path"):
        export_onnx(SRResNet(4, 1), folder)


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS],
)
def test_every_generator_is_exported(name: str, tmp_path: Path) -> None:
    """Of other sizes than those at which the export compares, and than that of the export."""
    for needed in ("onnx", "onnxscript"):
        pytest.importorskip(needed)
    runtime = pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    network = NETWORKS[name]()
    path = tmp_path / "model.onnx"
    difference = export_onnx(network, path)
    assert difference is not None
    assert difference < 1e-5
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for shape in ((2, 3, 7, 13), (1, 3, 20, 6)):
        images = torch.rand(shape)
        (made,) = session.run(["enlarged"], {"images": images.numpy()})
        with torch.no_grad():
            torch.testing.assert_close(torch.from_numpy(made), network(images), atol=1e-5, rtol=0)


def test_the_exporter_tells_of_errors_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("onnx", "onnxscript"):
        pytest.importorskip(name)

    def export(*given: object, **options: object) -> None:
        for name in ("onnx_ir.passes", "onnxscript.optimizer", "torch.onnx._internal"):
            logging.getLogger(name).info("No unused functions to remove")
            logging.getLogger(name).warning("torchvision is not installed")
            logging.getLogger(name).error("%s fails", name)

    caplog.set_level(logging.INFO)
    before = logging.getLogger("onnx_ir").level
    monkeypatch.setattr(torch.onnx, "export", export)
    with pytest.raises(InternalError, match="torch exports nothing of srresnet"):
        export_onnx(SRResNet(4, 1), tmp_path / "model.onnx")
    shown = [record.getMessage() for record in caplog.records]
    assert [text for text in shown if "fails" not in text] == []
    assert "onnx_ir.passes fails" in shown
    assert logging.getLogger("onnx_ir").level == before


def test_a_model_that_differs_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name)
    monkeypatch.setattr(onnx_export, "_difference", lambda *_: float("nan"))
    with pytest.raises(InternalError, match="differs from torch"):
        export_onnx(SRResNet(4, 1), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
