"""The command line of the server, and what it refuses before it serves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ranksrgan.contracts import rpc
from ranksrgan.contracts.serving.observer import Observers
from ranksrgan.rankdata import server
from ranksrgan.rankdata.cli import main


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What `rpc.serve` was called with."""
    calls: list[tuple[Any, ...]] = []

    def serve(*arguments: Any, **keywords: Any) -> int:
        calls.append((*arguments, keywords))
        return 0

    monkeypatch.setattr(rpc, "serve", serve)
    return calls


def test_flags_reach_the_server(
    tmp_path: Path, served: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    class Watched(server.Builds):
        def __init__(self, root: Any, upscalers: Any, jobs: Any, limits: Any) -> None:
            seen.update(root=root.folder, upscalers=upscalers, levels=limits.levels)

    monkeypatch.setattr(server, "Builds", Watched)
    monkeypatch.chdir(tmp_path)
    Path("own.pth").touch()
    command = ["serve", "--listen", "127.0.0.1:0", "--data-root", "."]
    command += ["--upscaler", "sr=grpc://gpu:50053/srgan", "--upscaler", "own=own.pth?device=cpu"]
    command += ["--workers", "3", "--queue", "5", "--max-message-mib", "2"]
    monkeypatch.setenv("RANKSRGAN_BUILD_LIMITS", "{levels: 7}")
    assert main(command) == 0
    ((settings, names, load, _),) = served
    assert settings.listen == "127.0.0.1:0"
    assert [name.rpartition(".")[2] for name in names] == ["RankDataService", "Operations"]
    services = load(Observers())
    assert [servicer.full_name for servicer in services.servicers] == names
    assert (settings.workers, settings.queue, settings.max_message_mib) == (3, 5, 2)
    assert services.background is not None
    # The builds may go on under a server that was started in another folder.
    own = f"{tmp_path}/own.pth?device=cpu"
    assert seen == {
        "root": tmp_path,
        "upscalers": {"sr": "grpc://gpu:50053/srgan", "own": own},
        "levels": 7,
    }


@pytest.mark.parametrize(
    ("upscaler", "message"),
    [("hr=x.pth", "hr is a level of every dataset"), ("a/b=x.pth", "'a/b' is no name")],
)
def test_impossible_names_of_upscalers(
    tmp_path: Path,
    served: list[tuple[Any, ...]],
    upscaler: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["serve", "--listen", "127.0.0.1:0", "--data-root", str(tmp_path)]
    assert main([*command, "--upscaler", upscaler, "--check-config"]) == 2
    assert message in capsys.readouterr().err
    assert served == []


def test_no_folder_to_serve(
    tmp_path: Path, served: list[tuple[Any, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--listen", "127.0.0.1:0", "--data-root", str(tmp_path / "x")]) == 1
    assert "is no folder to keep data in" in capsys.readouterr().err
    assert served == []


@pytest.mark.parametrize("wrong", [["--upscaler", "sr"], ["--builds", "0"], ["--max-pixels", "5"]])
def test_wrong_command_lines(tmp_path: Path, wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["serve", "--listen", "127.0.0.1:0", "--data-root", str(tmp_path), *wrong])
    assert caught.value.code == 2


def test_a_data_root_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--listen", "127.0.0.1:0"]) == 2
    message = capsys.readouterr().err
    assert "give --data-root, RANKSRGAN_DATA_ROOT or a key of a --config file" in message
