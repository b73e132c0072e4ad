"""One kill of an operation; thirty of each kind are in benchmarks/kills.py."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from ranksrgan.contracts.checkpoint import save_state
from ranksrgan.contracts.errors import InvalidCheckpoint, RankSRGANError
from tests.attacks.kills import Rounds, read_everything
from tests.attacks.targets import PATIENCE

pytestmark = pytest.mark.timeout(6 * PATIENCE)


@pytest.mark.slow  # tests of each service kill it and its operation too
def test_a_killed_build_makes_what_it_would_have_made(tmp_path: Path) -> None:
    rounds = Rounds("build", tmp_path)
    try:
        killed = rounds.kill("killed", "both", random.Random(1))
    finally:
        rounds.close()
    assert killed.ended == "same"
    assert killed.files > 5


def test_the_reader_of_everything_finds_what_is_half_written(tmp_path: Path) -> None:
    save_state(tmp_path / "rankers" / "x" / "last.state.pt", {"step": 1, "more": [1.5] * 1000})
    (tmp_path / "operations").mkdir()
    assert read_everything(tmp_path) == 1
    path = tmp_path / "rankers" / "x" / "last.state.pt"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InvalidCheckpoint):
        read_everything(tmp_path)
    path.unlink()
    job = tmp_path / "operations" / "ranker-000001-0123abcd"
    job.mkdir()
    (job / "request.json").write_text('{"kind": "Tr')
    with pytest.raises(RankSRGANError):
        read_everything(tmp_path)
