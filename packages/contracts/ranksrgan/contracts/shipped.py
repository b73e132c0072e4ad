"""Trained networks that come inside a package, so that it works without a download.

They lie in the package's folder ``weights``: ``FILE.safetensors``, in half precision, and beside it
its model card, ``FILE.md``. A name stands for each wherever the path of weights is wanted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from ranksrgan.contracts.errors import MissingAsset, UnknownName

#: Names of all shipped networks, for those who may not import the packages that bring them.
GENERATORS = ("ranksrgan", "srgan", "srresnet")
RANKERS = ("ranker-niqe",)


@dataclass(frozen=True)
class ShippedWeights:
    """What a package brings.

    Attributes:
        package: that can be imported, ``ranksrgan.srgan``.
        stems: of the files, by the networks' names, the one to use first.
    """

    package: str
    stems: Mapping[str, str]

    @property
    def names(self) -> list[str]:
        return list(self.stems)

    @property
    def folder(self) -> Path:
        """Where the files are."""
        return Path(str(files(self.package))) / "weights"

    def path(self, name: str) -> Path:
        """The weights of a network.

        Raises:
            UnknownName: there is none of that name; lists those there are.
            MissingAsset: the package was installed without its weights; names the file.
        """
        if name not in self.stems:
            raise UnknownName(
                f"{self.package} ships no network {name!r}, only {', '.join(self.names)}",
                field=name,
            )
        path = self.folder / f"{self.stems[name]}.safetensors"
        if not path.is_file():
            distribution = self.package.replace(".", "-")
            raise MissingAsset(
                f"{path} is missing: {distribution} was installed without its trained networks. "
                "Install it again, from a whole checkout or its wheel, or name weights of your own",
                field=path.name,
            )
        return path

    def paths(self) -> dict[str, Path]:
        """The weights of every network, by name; raises as `path`."""
        return {name: self.path(name) for name in self.names}

    def resolve(self, path: Path) -> Path:
        """The file that a path or a network's name stands for.

        Raises:
            MissingAsset: as `path`.
        """
        return self.path(str(path)) if str(path) in self.stems else path

    def files(self, specs: Mapping[str, Path]) -> dict[str, Path]:
        """The files of specs (``PATH?device=cuda``, ``NAME``), by the same keys; raises as
        `path`."""
        return {key: self.resolve(Path(str(spec).partition("?")[0])) for key, spec in specs.items()}

    def card(self, name: str) -> Path:
        """The model card of a network; raises as `path`."""
        return self.path(name).with_suffix(".md")
