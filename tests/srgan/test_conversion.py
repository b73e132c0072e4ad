"""Files of other projects in every form, there and back to the bit."""

from __future__ import annotations

import re
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ranksrgan.contracts.checkpoint import load_weights, save_weights
from ranksrgan.contracts.errors import DiskFull, InvalidCheckpoint, InvalidInput, NotSupported
from ranksrgan.srgan.conversion import convert
from ranksrgan.srgan.discriminators import (
    PatchDiscriminator,
    UNetDiscriminator,
    VGG296Discriminator,
    VGGDiscriminator,
)
from ranksrgan.srgan.foreign.imdn import IMDN
from ranksrgan.srgan.generators.architectures import load_generator, save_generator
from ranksrgan.srgan.generators.edsr import EDSR
from ranksrgan.srgan.generators.fsrcnn import FSRCNN
from ranksrgan.srgan.generators.msrresnet import MSRResNet
from ranksrgan.srgan.generators.rrdbnet import RRDBNet
from ranksrgan.srgan.generators.srresnet import SRResNet
from ranksrgan.srgan.generators.two_view_rrdbnet import TwoViewRRDBNet
from ranksrgan.srgan.network import Network


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_the_same_file_makes_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    save_generator(tmp_path / "g.safetensors", SRResNet(4, 1), {})
    made = []
    for folder in ("a", "b"):
        target = tmp_path / folder / f"g{suffix}"
        convert(tmp_path / "g.safetensors", target)
        made.append(target.read_bytes())
    assert made[0] == made[1]


def test_a_shipped_network_is_named(tmp_path: Path) -> None:
    target = tmp_path / "srgan.pth"
    network = convert(Path("srgan"), target, "official-old")
    assert "model.0.weight" in torch.load(target, weights_only=True)
    read = load_generator(target)
    for one, other in zip(read.parameters(), network.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    save_generator(tmp_path / "g.safetensors", SRResNet(16, 1), {})
    made = tmp_path / "made" / "g.pth"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))  # Python ignores its signal
    try:
        with pytest.raises(DiskFull, match=r"g\.pth cannot be written: File too large"):
            convert(tmp_path / "g.safetensors", made)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(made.parent.iterdir())


def convs(*names: str) -> set[str]:
    return {f"{name}.{part}" for name in names for part in ("weight", "bias")}


def dense(pattern: str) -> list[str]:
    return [pattern.format(i, j, k) for i in (0, 1) for j in (1, 2, 3) for k in range(1, 6)]


OLD_BLOCKS = [f"model.1.sub.{i}.res.{j}" for i in (0, 1) for j in (0, 2)]
OLD_RRDB = dense("model.1.sub.{}.RDB{}.conv{}.0")
NEW_RRDB = dense("RRDB_trunk.{}.RDB{}.conv{}")
BASIC_RRDB = dense("body.{}.rdb{}.conv{}")
BODY = [f"body.{i}.conv{j}" for i in (0, 1) for j in (1, 2)]
TRUNK = [f"recon_trunk.{i}.conv{j}" for i in (0, 1) for j in (1, 2)]

# What the original code's state dict has, written down once more.
FORMS: list[tuple[Callable[[], Network], str, set[str]]] = [
    (
        lambda: SRResNet(4, 2),
        "official",
        convs("conv_first", *TRUNK, "LRconv", "upconv1", "upconv2", "HRconv", "conv_last"),
    ),
    (
        lambda: SRResNet(4, 2),
        "official-old",
        convs("model.0", *OLD_BLOCKS, "model.1.sub.2", *(f"model.{i}" for i in (2, 5, 8, 10))),
    ),
    *(
        (
            lambda scale=scale: SRResNet(4, 2, scale),
            "official-old",
            convs("model.0", *OLD_BLOCKS, "model.1.sub.2", "model.2", "model.5", "model.7"),
        )
        for scale in (2, 3)
    ),
    (
        lambda: MSRResNet(4, 2),
        "official",
        convs("conv_first", *TRUNK, "upconv1", "upconv2", "HRconv", "conv_last"),
    ),
    (
        lambda: MSRResNet(4, 2, 3),
        "basicsr",
        convs("conv_first", *BODY, "upconv1", "conv_hr", "conv_last"),
    ),
    (
        lambda: RRDBNet(4, 2, 3),
        "official",
        convs("conv_first", *NEW_RRDB, "trunk_conv", "upconv1", "upconv2", "HRconv", "conv_last"),
    ),
    (
        lambda: RRDBNet(4, 2, 3),
        "official-old",
        convs("model.0", *OLD_RRDB, "model.1.sub.2", *(f"model.{i}" for i in (3, 6, 8, 10))),
    ),
    *(
        (
            lambda scale=scale: RRDBNet(4, 2, 3, scale, unshuffle=1),
            "official-old",
            convs("model.0", *OLD_RRDB, "model.1.sub.2", "model.3", "model.5", "model.7"),
        )
        for scale in (2, 3)
    ),
    *(
        (
            lambda scale=scale: RRDBNet(4, 2, 3, scale),
            "basicsr",
            convs(
                *("conv_first", *BASIC_RRDB, "conv_body"),
                *("conv_up1", "conv_up2", "conv_hr", "conv_last"),
            ),
        )
        for scale in (1, 2, 4)
    ),
    *(
        (
            lambda scale=scale: EDSR(4, 2, scale),
            "official",
            convs(
                *("sub_mean", "add_mean", "head.0", "body.2", "tail.1"),
                *(f"body.{i}.body.{j}" for i in (0, 1) for j in (0, 2)),
                *(["tail.0.0", "tail.0.2"] if scale == 4 else ["tail.0.0"]),
            ),
        )
        for scale in (2, 3, 4)
    ),
    (
        lambda: EDSR(4, 2),
        "basicsr",
        convs("conv_first", *BODY, "conv_after_body", "upsample.0", "upsample.2", "conv_last"),
    ),
    (
        lambda: FSRCNN(6, 1, 3, bottleneck=2),
        "official",
        {
            *convs("first_part.0", "mid_part.0", "mid_part.2", "mid_part.4", "last_part"),
            *(f"{part}.weight" for part in ("first_part.1", *(f"mid_part.{i}" for i in (1, 3, 5)))),
        },
    ),
    (
        lambda: UNetDiscriminator(2),
        "basicsr",
        {
            *convs("conv0", "conv9"),
            *(f"conv{i}.weight_{part}" for i in range(1, 9) for part in ("orig", "u", "v")),
        },
    ),
    (lambda: VGG296Discriminator(1), "official", set(VGG296Discriminator(1).state_dict())),
    (lambda: PatchDiscriminator(1), "official", set(PatchDiscriminator(1).state_dict())),
    (lambda: IMDN(8, 2), "official", set(IMDN(8, 2).state_dict())),
]


def saved(network: Network, path: Path) -> Path:
    save_weights(
        path,
        network.state_dict(),
        kind=network.kind,
        architecture=network.architecture,
        options=network.options,
        about={"step": 7},
    )
    return path


def state_of(path: Path) -> dict[str, Tensor]:
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content.get("params", content)


@pytest.mark.parametrize(
    ("make", "form", "keys"), FORMS, ids=[f"{make()} as {form}" for make, form, _ in FORMS]
)
def test_there_and_back_to_the_bit(
    make: Callable[[], Network], form: str, keys: set[str], tmp_path: Path
) -> None:
    network = make()
    first = saved(network, tmp_path / "first.safetensors")
    convert(first, tmp_path / "theirs.pth", form)
    content = torch.load(tmp_path / "theirs.pth", weights_only=True)
    assert ("params" in content) == (form == "basicsr")
    assert set(state_of(tmp_path / "theirs.pth")) == keys

    open_scale = network.architecture == "fsrcnn" or (
        "unshuffle 1" in f"{network}" and (network.options["scale"] < 4)
    )
    scale = network.options["scale"] if open_scale else None
    back = convert(tmp_path / "theirs.pth", tmp_path / "back.safetensors", scale=scale)
    assert f"{back}" == f"{network}"
    before, after = load_weights(first), load_weights(tmp_path / "back.safetensors")
    assert before.sha256 == after.sha256
    theirs = load_weights(tmp_path / "theirs.pth")
    assert after.about == {"converted_from": {"name": "theirs.pth", "sha256": theirs.sha256}}
    assert (after.kind, after.architecture) == (network.kind, network.architecture)
    assert after.options == network.options

    again = convert(tmp_path / "back.safetensors", tmp_path / "again.pth", form)
    assert f"{again}" == f"{network}"
    once, twice = state_of(tmp_path / "theirs.pth"), state_of(tmp_path / "again.pth")
    assert list(once) == list(twice)
    assert all(torch.equal(value, twice[key]) for key, value in once.items())


def test_the_official_edsr_is_written_with_its_fixed_ends(tmp_path: Path) -> None:
    convert(saved(EDSR(4, 2), tmp_path / "e.safetensors"), tmp_path / "e.pth")
    state = state_of(tmp_path / "e.pth")
    mean = torch.tensor([0.4488, 0.4371, 0.4040])
    assert torch.equal(state["sub_mean.bias"], -1 * 255 * mean)
    assert torch.equal(state["add_mean.bias"], 1 * 255 * mean)
    assert torch.equal(state["sub_mean.weight"], torch.eye(3).view(3, 3, 1, 1))


@pytest.mark.parametrize("wrapper", ["params", "params_ema", "state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_averaged_weights_are_preferred(wrapper: str, prefix: str, tmp_path: Path) -> None:
    wanted, other = RRDBNet(4, 2, 3, 2), RRDBNet(4, 2, 3, 2)
    state = {prefix + k: v for k, v in wanted.original_state("basicsr")["params"].items()}
    content = {wrapper: state}
    if wrapper == "params_ema":
        content["params"] = other.original_state("basicsr")["params"]
    torch.save(content, tmp_path / "x2plus.pth")
    loaded = load_generator(tmp_path / "x2plus.pth")
    assert isinstance(loaded, RRDBNet)
    assert (loaded.scale, loaded.options["unshuffle"]) == (2, 2)
    for key, value in wanted.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value)


@pytest.mark.parametrize("make", [SRResNet, MSRResNet, RRDBNet, EDSR])
def test_unknown_keys_are_listed(make: type[Network], tmp_path: Path) -> None:
    extra = {f"extra.{i}.weight": torch.zeros(1) for i in range(5)}
    extra |= {"head.alpha": torch.zeros(1), "head.beta": torch.zeros(1)}
    network = make(features=4, blocks=1)
    torch.save({**network.state_dict(), **extra}, tmp_path / "g.pth")
    with pytest.raises(
        InvalidCheckpoint,
        match=r"has unknown extra\.N\.weight \(5\), head\.alpha, head\.beta",
    ):
        load_generator(tmp_path / "g.pth")


def test_two_generations_in_one_file_are_refused(tmp_path: Path) -> None:
    """Both claim the same layer; neither is dropped in silence."""
    state = SRResNet(4, 1).state_dict()
    torch.save({**state, "HRconv.weight": state["HRconv.weight"]}, tmp_path / "g.pth")
    load_generator(tmp_path / "g.pth")
    basic = RRDBNet(4, 1, 2).original_state("basicsr")["params"]
    twice = {**basic, "HRconv.weight": basic["conv_hr.weight"]}
    torch.save(twice, tmp_path / "g.pth")
    with pytest.raises(InvalidCheckpoint, match=r"has unknown conv_hr\.weight"):
        load_generator(tmp_path / "g.pth")


def test_metadata_that_contradict_the_tensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "g.safetensors"
    state = SRResNet(4, 2).state_dict()

    def with_options(options: dict[str, Any]) -> Path:
        save_weights(path, state, kind="generator", architecture="srresnet", options=options)
        return path

    assert load_generator(with_options({"features": 4, "blocks": 2, "scale": 4})).scale == 4
    for blocks in (3, 2.0, "2"):
        with pytest.raises(InvalidCheckpoint, match=r"options are .*tensors are those of srresnet"):
            load_generator(with_options({"features": 4, "blocks": blocks, "scale": 4}))
    fsrcnn = FSRCNN(4, 1, bottleneck=2)
    for scale, message in (
        (7, "scale is 7"),
        ("2", "scale is '2' and no number"),
        ([2], "number"),
        (2.0, r"'scale': 2\.0.*scale 2,"),
    ):
        save_weights(
            path,
            fsrcnn.state_dict(),
            kind="generator",
            architecture="fsrcnn",
            options={**fsrcnn.options, "scale": scale},
        )
        with pytest.raises(InvalidCheckpoint, match=message):
            load_generator(path)


def test_what_was_recorded_is_kept_and_the_first_file_is_recorded(tmp_path: Path) -> None:
    a, b, c = (tmp_path / f"{name}.safetensors" for name in "abc")
    save_generator(a, SRResNet(4, 1), {"step": 9})
    convert(a, b)
    convert(b, c, half=True)
    first = {"name": "a.safetensors", "sha256": load_weights(a).sha256}
    for made in (b, c):
        assert load_weights(made).about == {"converted_from": first, "step": 9}


def test_half_precision_is_float32_again_when_it_is_read(tmp_path: Path) -> None:
    network = SRResNet(4, 1)
    save_generator(tmp_path / "a.safetensors", network, {"step": 9})
    for name in ("b", "c"):
        convert(tmp_path / "a.safetensors", tmp_path / f"{name}.safetensors", half=True)
    files = [(tmp_path / f"{name}.safetensors").read_bytes() for name in ("b", "c")]
    assert files[0] == files[1]
    found = load_generator(tmp_path / "b.safetensors")
    for (key, value), read in zip(network.state_dict().items(), found.parameters(), strict=True):
        assert read.dtype == torch.float32
        assert torch.equal(read, value.half().float() if value.ndim > 1 else value), key
    with pytest.raises(InvalidInput, match=r"half precision is for \.safetensors"):
        convert(tmp_path / "a.safetensors", tmp_path / "a.pth", half=True)


def test_what_cannot_be_converted(tmp_path: Path) -> None:
    path = saved(SRResNet(4, 1), tmp_path / "g.safetensors")
    with pytest.raises(NotSupported, match=r"srresnet \(.*as basicsr; .*: official, official-old"):
        convert(path, tmp_path / "g.pth", "basicsr")
    with pytest.raises(InvalidInput, match=r"official-old is for a \.pth"):
        convert(path, tmp_path / "h.safetensors", "official-old")
    with pytest.raises(InvalidInput, match=r"weights end in \.safetensors"):
        convert(path, tmp_path / "g.onnx")
    with pytest.raises(InvalidCheckpoint, match="is 4, not 2"):
        convert(path, tmp_path / "g.pth", scale=2)
    pooled = saved(VGGDiscriminator(1), tmp_path / "d.safetensors")
    with pytest.raises(NotSupported, match=r"no original code loads vgg .*: none"):
        convert(pooled, tmp_path / "d.pth")
    folded = saved(RRDBNet(4, 1, 2, 2), tmp_path / "r.safetensors")
    with pytest.raises(NotSupported, match="there is: basicsr"):
        convert(folded, tmp_path / "r.pth", "official")
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".safetensors"] * 3
    (tmp_path / "g.pth").mkdir()
    with pytest.raises(InvalidInput, match=r"g\.pth is a folder: name a file with target"):
        convert(path, tmp_path / "g.pth")


def test_the_sizes_of_real_esrgan() -> None:
    with torch.device("meta"):
        x2, x4 = RRDBNet(scale=2), RRDBNet()
    assert sum(p.numel() for p in x4.parameters()) == 16_697_987
    # Nine more channels in the first convolution: RealESRGAN_x2plus.
    assert sum(p.numel() for p in x2.parameters()) == 16_697_987 + 9 * 64 * 9
    with pytest.raises(InvalidInput, match="scale 3 with an unshuffle of 2; there are 4 with 1"):
        RRDBNet(scale=3, unshuffle=2)


def test_a_folded_rrdbnet_is_the_published_graph() -> None:
    torch.manual_seed(0)
    for scale, side in ((2, 2), (1, 4)):
        folded = RRDBNet(4, 1, 2, scale).double()
        plain = RRDBNet(4, 1, 2).double()
        state = folded.state_dict()
        first = state.pop("conv_first.weight")
        plain.load_state_dict(state, strict=False)
        plain.conv_first.weight = torch.nn.Parameter(first)
        x = torch.rand(1, 3, 4 * 3, 4 * 2, dtype=torch.float64)
        # Channel c, row i, column j of a square: channel 4 c + 2 i + j of a pixel, for side 2.
        n, c, h, w = x.shape
        squares = x.reshape(n, c, h // side, side, w // side, side).permute(0, 1, 3, 5, 2, 4)
        expected = plain(squares.reshape(n, c * side**2, h // side, w // side))
        torch.testing.assert_close(folded(x), expected, rtol=1e-10, atol=1e-10)


UNTOLD: list[tuple[Network, str]] = [
    (TwoViewRRDBNet(4, 1, 2, scale=1), r"scale 1: .*taken for two_view_rrdbnet \(.*scale 4\)"),
    (FSRCNN(4, 1, 3, bottleneck=2), "scale 3: .*refused"),
    (EDSR(4, 1, 2, 0.5), r"residual_scaling 0\.5: .*taken for edsr \(.*residual_scaling 1\.0\)"),
    (TwoViewRRDBNet(4, 1, 2), ""),
    (RRDBNet(4, 1, 2, 2), ""),
    (PatchDiscriminator(1), ""),
]


@pytest.mark.parametrize(("network", "said"), UNTOLD, ids=[str(network) for network, _ in UNTOLD])
def test_what_a_file_does_not_tell_is_told_when_it_is_written(
    network: Network, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    convert(saved(network, tmp_path / "n.safetensors"), tmp_path / "n.pth")
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == bool(said)
    assert all(re.search(rf"n\.pth does not tell its {said}", line) for line in told)


def test_one_upconv_needs_its_scale(tmp_path: Path) -> None:
    path = tmp_path / "old.pth"
    for scale in (2, 3):
        torch.save(RRDBNet(4, 1, 2, scale, unshuffle=1).original_state("official-old"), path)
        with pytest.raises(InvalidCheckpoint, match=r"scale 2 or 3.* convert the file"):
            load_generator(path)
        assert load_generator(path, scale).scale == scale
