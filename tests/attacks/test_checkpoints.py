"""Weights files that want to run code, to take the machine's memory, or to be read wrongly."""

from __future__ import annotations

import json
import os
import pickle
import resource
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from ranksrgan.contracts.checkpoint import load_state, load_weights, save_weights
from ranksrgan.contracts.errors import InvalidCheckpoint
from ranksrgan.ranker import VGG12, load_ranker
from ranksrgan.srgan import SRResNet, open_generator, save_generator
from ranksrgan.srgan.discriminators import load_discriminator


class Runs:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self._command = command

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (self._command,)


@contextmanager
def memory_limit(mebibytes: int) -> Iterator[None]:
    """Let the process take so much more address space, and no more."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + mebibytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def refused(path: Path) -> None:
    """Every reader refuses it with an error of ours, without much memory."""
    with memory_limit(1024):
        for read in (load_weights, load_ranker, load_discriminator):
            with pytest.raises(InvalidCheckpoint):
                read(path)
        with pytest.raises(InvalidCheckpoint):
            open_generator(str(path), {})


def write_safetensors(path: Path, header: Any, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def entry(start: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


@pytest.mark.parametrize("wrapper", ["", "state_dict", "params_ema"])
@pytest.mark.parametrize("zipped", [False, True])
def test_code_in_a_pickle_does_not_run(tmp_path: Path, wrapper: str, zipped: bool) -> None:
    ran = tmp_path / "ran"
    content: Any = {"conv_first.weight": Runs(f"touch {ran}")}
    content = {wrapper: content} if wrapper else content
    path = tmp_path / "evil.pth"
    if zipped:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    refused(path)
    with pytest.raises(InvalidCheckpoint):
        load_state(path)
    assert not ran.exists()


SAFETENSORS: dict[str, tuple[Any, bytes]] = {
    "overlapping": ({"a": entry(0, 8, [2]), "b": entry(4, 12, [2])}, bytes(12)),
    "beyond the end": ({"a": entry(0, 4000, [1000])}, bytes(8)),
    "backwards": ({"a": entry(8, 0, [2])}, bytes(8)),
    "negative": ({"a": entry(-8, 0, [2])}, bytes(8)),
    "a gap": ({"a": entry(0, 4, [1]), "b": entry(8, 12, [1])}, bytes(12)),
    "another size": ({"a": entry(0, 8, [3])}, bytes(8)),
    "a size that wraps around": ({"a": entry(0, 0, [2**32, 2**32])}, b""),
    "an unknown type": ({"a": entry(0, 8, [2], "F31")}, bytes(8)),
    "complex numbers": ({"a": entry(0, 8, [1], "C64")}, bytes(8)),
    "numbers of 8 bits": ({"a": entry(0, 2, [2], "F8_E4M3")}, bytes(2)),
    "no JSON": (b"{" * 1000, b""),
    "a list": ([1, 2], b""),
    "NaN": ({"a": entry(0, 4, [1])}, struct.pack("<f", float("nan"))),
    "infinity": ({"a": entry(0, 4, [1])}, struct.pack("<f", float("inf"))),
    "options in brackets": ({"__metadata__": {"options": "[" * 100_000}}, b""),
    "options of many digits": ({"__metadata__": {"options": '{"a":' + "1" * 10_000 + "}"}}, b""),
    "options that are no object": ({"__metadata__": {"options": "[1]"}}, b""),
    "about that is no JSON": ({"__metadata__": {"about": "{"}}, b""),
    "nothing": ({}, b""),
}


@pytest.mark.parametrize("case", SAFETENSORS)
def test_damaged_safetensors(tmp_path: Path, case: str) -> None:
    header, data = SAFETENSORS[case]
    path = write_safetensors(tmp_path / "evil.safetensors", header, data)
    if case == "nothing":  # a file without tensors is whole, and belongs to no network
        with pytest.raises(InvalidCheckpoint):
            open_generator(str(path), {})
        return
    refused(path)


@pytest.mark.parametrize("length", [2**63, 2**40, 10**9, 9])
def test_a_header_longer_than_the_file(tmp_path: Path, length: int) -> None:
    path = tmp_path / "evil.safetensors"
    path.write_bytes(struct.pack("<Q", length) + b"{}")
    refused(path)


@pytest.mark.parametrize("size", [0, 1, 7, 100])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
def test_what_is_cut_off(tmp_path: Path, size: int, suffix: str) -> None:
    whole = tmp_path / f"whole{suffix}"
    if suffix == ".safetensors":
        save_generator(whole, SRResNet(4, 1), {})
    else:
        torch.save(SRResNet(4, 1).state_dict(), whole)
    path = tmp_path / f"evil{suffix}"
    path.write_bytes(whole.read_bytes()[:size])
    refused(path)


EVERYWHERE = torch.zeros(1)
TENSORS: dict[str, torch.Tensor] = {
    "of one number a billion times over": EVERYWHERE.expand(10**6, 10**6),
    "of one number, some thousand megabytes": EVERYWHERE.expand(2**28),
    "that is sparse": torch.sparse_coo_tensor(
        torch.zeros(1, 1).long(), torch.ones(1), (2**40,), check_invariants=True
    ),
    "without numbers": torch.empty(10**6, 10**6, device="meta"),
    "of complex numbers": torch.zeros(3, dtype=torch.complex64),
    "of numbers with 8 bits": torch.zeros(3).to(torch.float8_e4m3fn),
    "of NaN": torch.full((3,), torch.nan, dtype=torch.bfloat16),
}


@pytest.mark.filterwarnings("ignore:Sparse invariant:UserWarning")
@pytest.mark.parametrize("case", TENSORS)
def test_pickled_tensors_that_no_network_has(tmp_path: Path, case: str) -> None:
    path = tmp_path / "evil.pth"
    torch.save({"conv_first.weight": TENSORS[case]}, path)
    refused(path)


def asking_for(path: Path, shapes: dict[str, list[int]], **said: Any) -> Path:
    """Weights of little size whose shapes or options ask for much."""
    at, header, sizes = 0, {}, {}
    for name, shape in shapes.items():
        size = 4 * int(torch.tensor(shape).prod())
        header[name] = entry(at, at + size, shape)
        at += size
        sizes[name] = size
    if said:
        text = {"format": "ranksrgan-1", **said}
        text["options"] = json.dumps(text.get("options", {}))
        header["__metadata__"] = text
    return write_safetensors(path, header, bytes(at))


WIDE = 10**6


@pytest.mark.parametrize("numbers", [0, 1])
def test_absurd_sizes_take_no_memory(tmp_path: Path, numbers: int) -> None:
    """A network is as large as its file says, so a file that says more than it holds is refused
    before the network is built."""
    path = tmp_path / "evil.safetensors"
    ranker = {"conv0_0.weight": [WIDE, numbers, 1, 1], "classifier.2.weight": [1, 1]}
    generator = {
        "conv_first.weight": [WIDE, 1, 1, numbers],
        "recon_trunk.0.conv1.weight": [1, 1, 1, 1],
        "LRconv.weight": [1, 1, 1, 1],
        "upconv1.weight": [4, 1, 1, 1],
        "upconv2.weight": [4, 1, 1, 1],
    }
    with memory_limit(1024):
        for shapes in (ranker, generator):
            asking_for(path, shapes)
            for read in (load_ranker, load_discriminator, lambda p: open_generator(str(p), {})):
                with pytest.raises(InvalidCheckpoint):
                    read(path)


@pytest.mark.parametrize(
    ("kind", "architecture", "options"),
    [
        ("ranker", "nss", {"width": 10**9, "heads": 10**6, "border": 0}),
        ("ranker", "nss", {"width": -1, "heads": 1, "border": 0}),
        ("ranker", "nss", {"width": True, "heads": 1.5, "border": "4"}),
        ("ranker", "vgg12", {"width": 10**6, "heads": 1}),
        ("generator", "srresnet", {"features": 10**6, "blocks": 10**6, "scale": 4}),
        ("generator", "rrdbnet", {"features": 10**6, "blocks": 1, "growth": 10**6, "scale": 4}),
        ("generator", "two_view_rrdbnet", {"features": 64, "blocks": 1, "growth": 32, "scale": 9}),
        ("generator", "edsr", {"features": 64, "blocks": 1, "scale": 4, "residual": 1e300}),
        ("generator", "../../etc", {}),
        ("discriminator", "vgg", {"width": 10**6}),
    ],
)
def test_absurd_options(
    tmp_path: Path, kind: str, architecture: str, options: dict[str, Any]
) -> None:
    path = tmp_path / "evil.safetensors"
    shapes = {"conv_first.weight": [4, 3, 3, 3], "conv0_0.weight": [2, 3, 3, 3]}
    asking_for(path, shapes, kind=kind, architecture=architecture, options=options)
    with memory_limit(1024):
        for read in (load_ranker, load_discriminator, lambda p: open_generator(str(p), {})):
            with pytest.raises(InvalidCheckpoint):
                read(path)


def test_a_file_that_is_replaced_while_it_is_read_is_one_of_the_two(tmp_path: Path) -> None:
    """Writers replace a file as a whole, so a reader sees the old one or the new one."""
    path = tmp_path / "ranker.safetensors"
    networks = []
    for seed in (1, 2):
        networks.append(VGG12(2, torch.Generator().manual_seed(seed)))
    done = threading.Event()

    def write(number: int) -> str:
        options = {"width": 2, "heads": 1}
        state = networks[number % 2].state_dict()
        save_weights(path, state, kind="ranker", architecture="vgg12", options=options)
        return load_weights(path).sha256

    hashes = {write(0), write(1)}
    assert len(hashes) == 2

    def replace() -> None:
        for number in range(100):
            options = {"width": 2, "heads": 1}
            state = networks[number % 2].state_dict()
            save_weights(path, state, kind="ranker", architecture="vgg12", options=options)
        done.set()

    thread = threading.Thread(target=replace)
    thread.start()
    seen = set()
    while not done.is_set():
        seen.add(load_weights(path).sha256)
    thread.join()
    assert seen <= hashes
    assert [other for other in tmp_path.iterdir() if other != path] == []
