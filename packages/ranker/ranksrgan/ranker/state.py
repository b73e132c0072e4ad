"""What a training has to remember to go on as if it had never stopped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ranksrgan.contracts.checkpoint import load_state, save_state
from ranksrgan.contracts.errors import InvalidCheckpoint
from ranksrgan.contracts.pairs import PairSource
from ranksrgan.ranker.config import FREE_ON_RESUME, TrainConfig

STATE_FILE = "last.state.pt"

_FORMAT = "ranker-state-2"

# Keys that are younger than the format, and what held before there was one.
_YOUNGER = {"versions": 0, "crop": 0}


def identity(
    config: TrainConfig,
    train_source: PairSource,
    val_source: PairSource | None,
    processes: int = 1,
) -> dict[str, Any]:
    """Everything that decides the course of a training, as plain values.

    Args:
        config: with device and precision resolved.
        train_source: the pairs that it learns.
        val_source: the contents by which the best weights are chosen.
        processes: how many train together.
    """
    decisive = config.model_dump(mode="json", exclude=set(FREE_ON_RESUME))
    return {
        **decisive,
        "processes": processes,
        "training data": train_source.info.fingerprint,
        "validation data": val_source.info.fingerprint if val_source else "none",
    }


def write_state(folder: Path, identity: Mapping[str, Any], content: Mapping[str, Any]) -> None:
    """Write the training state of ``folder``, whole or not at all."""
    state = {"format": _FORMAT, "identity": dict(identity), **content}
    save_state(folder / STATE_FILE, state)


def read_state(folder: Path, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """The training state of ``folder``; None if there is none yet.

    Raises:
        InvalidCheckpoint: damaged, or of a training with another configuration or other data; the
            message names each difference.
    """
    path = folder / STATE_FILE
    if not path.is_file():
        return None
    state = load_state(path)
    if state.get("format") != _FORMAT:
        raise InvalidCheckpoint(f"{path} is no training state of a ranker", field=str(path))
    before = {key: value for key, value in _YOUNGER.items() if key in identity}
    saved = {**before, **state["identity"]}
    differences = [
        f"{key} was {saved.get(key)} and is {identity.get(key)}"
        for key in sorted({*saved, *identity})
        if saved.get(key) != identity.get(key)
    ]
    if differences:
        raise InvalidCheckpoint(
            f"{path} belongs to another training: {'; '.join(differences)}. Train into another "
            "folder, at a service under another name. The command train begins there with weights "
            "of this one (--begin-from, or start= of a quality model), or starts anew here "
            "(--restart)",
            field=str(path),
        )
    return state
