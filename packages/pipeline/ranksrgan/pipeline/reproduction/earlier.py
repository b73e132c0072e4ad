"""Figures of earlier commands, and whether new ones may take their place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ranksrgan.contracts import atomic
from ranksrgan.contracts.config import dump_yaml, load_config
from ranksrgan.contracts.errors import InvalidConfig, InvalidInput
from ranksrgan.pipeline.reproduction.config import Scale
from ranksrgan.pipeline.reproduction.findings import FINDINGS_FILE, read_findings

SCALE_FILE = "scale.yaml"

#: What a scale says that no figure depends on.
_WORDS = frozenset({"about", "model_titles"})


def check_replaceable(folder: Path, figures_of: str, scale: Scale, seeds: Sequence[int]) -> None:
    """Refuse figures of another scale than those of a folder, or of fewer seeds.

    Args:
        folder: of an experiment; without ``findings.json`` it may take any.
        figures_of: what tables say of the scale.
        scale: with its settings.
        seeds: of the new figures.

    Raises:
        InvalidInput: they would replace figures of another scale, of other settings of a scale of
            this name, or of seeds that are not among theirs.
    """
    if not (folder / FINDINGS_FILE).is_file():
        return
    there = read_findings(folder)
    if there.scale != figures_of:
        raise InvalidInput(
            f"{folder} holds figures of scale {there.scale}, and those of {figures_of} do "
            "not belong beside or over them: choose another folder with -o",
            field=str(folder),
        )
    if changed := ", ".join(_changed(folder / SCALE_FILE, scale)):
        raise InvalidInput(
            f"{folder} holds figures of a scale {figures_of} of other settings ({changed}, see "
            f"{SCALE_FILE} there): choose another folder with -o",
            field=str(folder),
        )
    if lost := [str(seed) for seed in there.seeds if seed not in seeds]:
        raise InvalidInput(
            f"{folder} holds figures over the seeds {', '.join(map(str, there.seeds))}, and "
            f"{', '.join(lost)} would be lost: name them with --seeds as well, or choose another "
            "folder with -o",
            field=str(folder),
        )


def write_scale(folder: Path, scale: Scale) -> None:
    """Write the settings that figures are of."""
    atomic.write_text(folder / SCALE_FILE, dump_yaml(scale))


def _changed(path: Path, scale: Scale) -> Iterator[str]:
    """The keys that the scale of a file has otherwise; nothing of a file that is gone."""
    if not path.is_file():
        return
    try:
        there = load_config(Scale, path)
    except InvalidConfig as error:  # written by an earlier version, or damaged
        yield str(error)
        return
    for key in Scale.model_fields:
        if key not in _WORDS and getattr(there, key) != getattr(scale, key):
            yield key
