"""Units of work, addressed by what they are made of, so that experiments share them.

A unit's configuration is resolved to the last default before anything runs. Places in it stand
symbolically: ``@data/images/set14`` lies in the folder of data, ``@runs/ranker-1f3a...`` is what
another unit leaves. Its key is the hash of that configuration and of the content of all data that
it names; since the names of other units carry their keys, it covers what those were made of, too.

    RUNS/KIND-KEY/unit.json     the configuration
                  done.json     the result, written last: the unit is finished
                  log.txt       what it printed
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ranksrgan.contracts import atomic
from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.images import list_images

Kind = Literal[
    "images",
    "given",
    "generator",
    "rank_data",
    "ranker",
    "judgement",
    "evaluation",
    "step_time",
]

UNIT_FILE = "unit.json"
DONE_FILE = "done.json"
LOG_FILE = "log.txt"

DATA, RUNS = "@data/", "@runs/"
_MADE = re.compile(r"@runs/([a-z_]+-[0-9a-f]{16})")


@dataclass(frozen=True)
class Unit:
    """One piece of work.

    Attributes:
        kind: what is done, see ``work.py``.
        label: for people, such as "RankSRGAN, seed 1"; does not count.
        config: JSON values, places symbolic.
        inputs: content hash of each ``@data/`` place in it.
        after: the units whose results it takes.
    """

    kind: Kind
    label: str
    config: Mapping[str, Any]
    inputs: Mapping[str, str]
    after: tuple[Unit, ...]

    @property
    def name(self) -> str:
        """Of its folder."""
        about = json.dumps([self.kind, self.config, self.inputs])
        return f"{self.kind}-{hashlib.sha256(about.encode()).hexdigest()[:16]}"

    def place(self, file: str) -> str:
        """A file that it leaves, symbolically."""
        return f"{RUNS}{self.name}/{file}"

    def is_finished(self, runs: Path) -> bool:
        """Whether its result is there."""
        return (runs / self.name / DONE_FILE).is_file()

    def result(self, runs: Path) -> dict[str, Any]:
        """What it found.

        Raises:
            InvalidInput: it is not finished, or its file is damaged; names it.
        """
        path = runs / self.name / DONE_FILE
        if not path.is_file():
            raise InvalidInput(f"{self.label} is not finished ({path} is missing)", field=str(path))
        try:
            found: dict[str, Any] = json.loads(path.read_bytes())["result"]
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidInput(
                f"{path} is damaged: remove it, and the same command does this again: {self.label}",
                field=str(path),
            ) from error
        return found

    def prepare(self, runs: Path) -> Path:
        """Write its configuration; its folder."""
        folder = runs / self.name
        about = {"kind": self.kind, "label": self.label, "config": self.config}
        text = json.dumps({**about, "inputs": self.inputs}, indent=1) + "\n"
        atomic.write_text(folder / UNIT_FILE, text)
        return folder


class Units:
    """All units of some experiments, each once.

    Args:
        data: the folder of data.
    """

    def __init__(self, data: Path) -> None:
        self._data = data
        self._units: dict[str, Unit] = {}
        self._hashes: dict[str, str] = {}

    def __iter__(self) -> Iterator[Unit]:
        """In an order in which each comes after those that it needs."""
        return iter(self._units.values())

    def __len__(self) -> int:
        return len(self._units)

    def add(
        self, kind: Kind, label: str, config: Mapping[str, Any], files: Sequence[Path] = ()
    ) -> Unit:
        """The unit of this configuration, a new one or the one that is there.

        Args:
            kind, label, config: see `Unit`.
            files: of the user's, which it names by their paths; their content counts too.

        Raises:
            InvalidInput: data that it names is missing.
        """
        places = sorted({text for text in texts_of(config) if text.startswith("@")})
        inputs = {text: self._hash(text) for text in places if text.startswith(DATA)}
        inputs |= {str(file): self._hash(str(file)) for file in files}
        made = sorted({found[1] for text in places if (found := _MADE.match(text))})
        unit = Unit(kind, label, config, inputs, tuple(self._units[name] for name in made))
        return self._units.setdefault(unit.name, unit)

    def _hash(self, text: str) -> str:
        if text not in self._hashes:
            self._hashes[text] = content_hash(Path(resolved(text, self._data, Path())))
        return self._hashes[text]


def content_hash(path: Path) -> str:
    """sha256 of a file, or of the names and contents of the images of a folder.

    Raises:
        InvalidInput: nothing is there.
    """
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    if not path.is_dir():
        raise InvalidInput(
            f"{path} is missing: the README of experiments/ says how the data is laid out, and "
            "--data names its folder",
            field=str(path),
        )
    digest = hashlib.sha256()
    for image in list_images(path):
        digest.update(f"{image.name}\0{content_hash(image)}\n".encode())
    return digest.hexdigest()


def resolved(value: Any, data: Path, runs: Path) -> Any:
    """A configuration with real paths in place of the symbolic ones."""
    if isinstance(value, str):
        for sign, folder in ((DATA, data), (RUNS, runs)):
            if value.startswith(sign):
                return str(folder / value.removeprefix(sign))
        return value
    if isinstance(value, Mapping):
        return {key: resolved(inner, data, runs) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [resolved(inner, data, runs) for inner in value]
    return value


def texts_of(value: Any) -> Iterator[str]:
    """Every text in a configuration, keys left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from texts_of(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from texts_of(inner)
