"""What heaps keep and give back, in a process of its own: the settings are for good."""

from __future__ import annotations

import json
import platform
import subprocess
import sys

import pytest

from ranksrgan.contracts import heaps

TRIAL = """
import gc, json, resource, time
from pathlib import Path

import torch

from ranksrgan.contracts.heaps import give_back, keep_for_a_server


def resident():
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * resource.getpagesize()


def fill():
    for _ in range(5):
        torch.ones(100 * 2**20, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


torch.ones(100 * 2**20, dtype=torch.uint8)  # whatever is needed once
faults = -fill() + fill()
began = time.perf_counter()
gc.collect()
collected = time.perf_counter() - began
keep_for_a_server()
began = time.perf_counter()
gc.collect()
collected_kept = time.perf_counter() - began
fill()
faults_kept = -fill() + fill()
kept = resident()
give_back()
print(json.dumps([faults, faults_kept, kept - resident(), collected, collected_kept]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="there are no such heaps")
def test_heaps_keep_what_is_freed_and_give_it_back_when_told() -> None:
    trial = subprocess.run(
        [sys.executable, "-c", TRIAL], capture_output=True, text=True, check=True
    )
    faults, faults_kept, given_back, collected, collected_kept = json.loads(trial.stdout)
    pages = 5 * 100 * 2**20 // 4096
    assert faults > pages / 2, "what is measured against: every use comes page by page"
    assert faults_kept < pages / 100
    assert given_back > 90 * 2**20
    assert collected_kept < collected / 10


@pytest.mark.parametrize(
    ("largest", "settings"),
    [
        (2**31, [(-3, 2**30, 1), (-1, 2**30, 1)]),
        (32 * 2**20, [(-3, 2**30, 0), (-3, 32 * 2**20, 1), (-1, 2**30, 1)]),
        (0, [(-3, 2**30, 0), (-3, 32 * 2**20, 0)]),
    ],
)
def test_no_threshold_is_set_without_the_other(
    largest: int, settings: list[tuple[int, int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older glibc takes no mmap threshold above 32 MiB; with the trim threshold alone it would
    stay at 128 KiB for good."""
    made: list[tuple[int, int, int]] = []

    def mallopt(parameter: int, value: int) -> int:
        made.append((parameter, value, int(parameter != -3 or value <= largest)))
        return made[-1][2]

    monkeypatch.setattr(heaps, "_of_libc", lambda name: mallopt)
    heaps.keep_for_a_command()
    assert made == settings


def test_strips_of_pictures_are_in_no_heap(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[int, int]] = []

    def mallopt(parameter: int, value: int) -> int:
        made.append((parameter, value))
        return 1

    monkeypatch.setattr(heaps, "_of_libc", lambda name: mallopt)
    heaps.keep_for_pictures()
    assert made == [(-8, 2), (-3, 32 * 2**20), (-1, 2**30)]
