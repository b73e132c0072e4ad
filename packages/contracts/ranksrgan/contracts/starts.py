"""The weights that a training has started from, by content, for whoever continues it to compare.

``starts.json`` lies beside the training's state. A training that is continued does not read those
weights again, so that it goes on where they have gone or moved; but if others have taken their
place, what it has learnt is not what its configuration says now.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ranksrgan.contracts import atomic
from ranksrgan.contracts.checkpoint import load_weights
from ranksrgan.contracts.errors import InvalidCheckpoint, InvalidConfig

STARTS_FILE = "starts.json"


def check_starts(state: Path, starts: Mapping[str, Path]) -> None:
    """Note what a training starts from; of one that has a state, compare.

    A state without a note, of an earlier version, is taken as it is.

    Args:
        state: the training's file, there or not yet.
        starts: weights by the key of the configuration that names them.

    Raises:
        InvalidConfig: the state's training started from other weights; ``field`` is the key.
        InvalidCheckpoint: weights that are missing or damaged, or a damaged note.
    """
    note, there = state.parent / STARTS_FILE, state.is_file()
    before = _read(note) if there and note.is_file() else {}
    if there and not note.is_file():
        return
    now = {
        # Weights that have gone since have not been replaced.
        key: before[key] if key in before and not path.exists() else load_weights(path).sha256
        for key, path in starts.items()
    }
    if not there:
        atomic.write_text(note, json.dumps(now, indent=2) + "\n")
        return
    for key in sorted(before.keys() | now.keys()):
        then, today = (found[key][:12] if key in found else "none" for found in (before, now))
        if before.get(key) != now.get(key):
            raise InvalidConfig(
                f"{key}: the training in {state.parent} started from other weights (sha256 "
                f"{then} then, {today} now): use another folder, or remove this one and what was "
                "made from it",
                field=key,
            )


def _read(note: Path) -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads(note.read_text())
    except ValueError as error:
        raise InvalidCheckpoint(f"{note} is damaged: {error}", field=str(note)) from error
    return found
