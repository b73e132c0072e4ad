"""Configuration: pydantic models, YAML files, overrides on the command line.

An unknown key is an error that names the file or the override, the key, and what is close to it.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from ranksrgan.contracts.config_problems import (
    Problem,
    explain,
    explain_overridden,
    find_problems,
)
from ranksrgan.contracts.errors import InvalidConfig, UnknownName
from ranksrgan.contracts.yaml_text import Dumper, KeyTwice, load_yaml, read_yaml


class Config(BaseModel):
    """Base of every configuration: frozen, and strict about unknown keys; numbers are finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


C = TypeVar("C", bound=Config)
V = TypeVar("V")
K = TypeVar("K", bound=str)


def load_config(model: type[C], path: Path | None = None, overrides: Sequence[str] = ()) -> C:
    """Build a configuration from a YAML file and ``key.key=value`` overrides.

    Args:
        model: the configuration's class.
        path: a YAML file; None for the defaults alone.
        overrides: each ``dotted.key=value``, the value in YAML (``train.lr=1e-4``). What lies in a
            plain dict by default keeps its other keys (``losses.plcc=1``).

    Raises:
        InvalidConfig: unreadable, not YAML, a key twice, unknown key, wrong type; names the key and
            the file or override that it is from.
    """
    content: dict[str, Any] = {} if path is None else read_yaml(Path(path))
    return _overridden(model, content, None if path is None else str(path), overrides)


def recipe_names(recipes: Path) -> list[str]:
    """The YAML files of a folder of configurations that come with a package, by stem."""
    return sorted(path.stem for path in recipes.glob("*.yaml"))


def load_recipe(
    model: type[C], recipes: Path, name: str | Path | None, overrides: Sequence[str] = ()
) -> C:
    """Build a configuration from one that comes with a package, or from a YAML file.

    Either may start with ``extends: NAME``, another recipe or a YAML file beside it, and then
    states only what differs. Keys are merged level by level; a list or a null replaces what was
    there, and so does a section of another ``kind``, whose keys are others.

    Args:
        model: the configuration's class.
        recipes: the package's folder of them.
        name: of a recipe; the path of a file that ends in ``.yaml`` or ``.yml``; None for the
            defaults.
        overrides: see `load_config`.

    Raises:
        UnknownName: no such recipe; lists those there are.
        InvalidConfig: see `load_config`; or recipes that extend each other in a circle.
    """
    if name is None:
        return load_config(model, None, overrides)
    path = _find_recipe(recipes, str(name), Path())
    content = _read_recipe(path, recipes, ())
    return _overridden(model, content, str(path), overrides)


def make_config(
    model: type[C],
    content: Mapping[str, Any],
    where: str | Callable[[str], str] = "configuration",
) -> C:
    """Build a configuration from keys and values.

    Args:
        model: the configuration's class.
        content: the keys and values.
        where: they stand, for messages; or what says it of a dotted key, where they stand in
            several places.

    Raises:
        InvalidConfig: unknown key or wrong type; names the key.
    """
    return _validated(model, dict(content), lambda found: explain(found, where))


def in_order(mapping: Mapping[K, V], names: Iterable[str] = ()) -> dict[K, V]:
    """A mapping in one order, however it was written: sums over it are then the same to the bit.

    What comes over the wire has its keys in any order, another one each time.

    Args:
        mapping: of a configuration.
        names: go first, in their order; then come the others by name, ``conv2`` before ``conv10``.
    """
    place = {name: number for number, name in enumerate(names)}

    def key(name: str) -> tuple[int, str, str]:
        padded = re.sub("[0-9]+", lambda number: number[0].zfill(9), name)
        return place.get(name, len(place)), padded, name

    return {name: mapping[name] for name in sorted(mapping, key=key)}


def dump_yaml(config: Config) -> str:
    """The resolved configuration as YAML, defaults included."""
    return yaml.dump(config.model_dump(mode="json"), Dumper=Dumper, sort_keys=False)


def _find_recipe(recipes: Path, name: str, beside: Path) -> Path:
    if Path(name).suffix in {".yaml", ".yml"}:
        return beside / name
    offered = recipe_names(recipes)
    if name not in offered:
        raise UnknownName(
            f"{name} is neither a recipe ({', '.join(offered)}) nor a .yaml file", field=name
        )
    return recipes / f"{name}.yaml"


def _read_recipe(path: Path, recipes: Path, below: tuple[Path, ...]) -> dict[str, Any]:
    """A recipe's content on top of what it extends; ``below`` are those that extend it."""
    chain = (*below, path.resolve())
    if chain[-1] in below:
        circle = " extends ".join(one.name for one in chain)
        raise InvalidConfig(f"{path} extends itself: {circle}", field="extends")
    content = read_yaml(path)
    if "extends" not in content:
        return content
    parent = content.pop("extends")
    if not isinstance(parent, str):
        raise InvalidConfig(f"{path}: extends: name a recipe or a .yaml file", field="extends")
    above = _find_recipe(recipes, parent, path.parent)
    return merged(_read_recipe(above, recipes, chain), content)


def merged(above: Mapping[str, Any], content: Mapping[str, Any]) -> dict[str, Any]:
    """``content`` on top of ``above``, level by level; see `load_recipe`."""
    result = dict(above)
    for key, value in content.items():
        old = above.get(key)
        if (
            isinstance(old, dict)
            and isinstance(value, dict)
            and value.get("kind", old.get("kind")) == old.get("kind")
        ):
            result[key] = merged(old, value)
        else:
            result[key] = value
    return result


def _overridden(
    model: type[C], content: dict[str, Any], file: str | None, overrides: Sequence[str]
) -> C:
    """A configuration of a file's content with overrides, which it changes."""
    for override in overrides:
        _apply(model, content, override)
    return _validated(model, content, lambda found: explain_overridden(found, file, overrides))


def _validated(
    model: type[C], content: dict[str, Any], explained: Callable[[list[Problem]], str]
) -> C:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        found = find_problems(error, model, content)
        raise InvalidConfig(explained(found), field=found[0].key) from error


def _apply(model: type[BaseModel], content: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator or not key:
        raise InvalidConfig(f"{override!r}: overrides look like train.lr=1e-4", field=override)
    *parents, last = key.split(".")
    if parents and parents[0] not in content:
        content[parents[0]] = _default_dict(model, parents[0])
    for parent in parents:
        content = content.setdefault(parent, {})
        if not isinstance(content, dict):
            raise InvalidConfig(f"{override!r}: {parent} holds a value, not keys", field=key)
    try:
        content[last] = load_yaml(value)
    except KeyTwice as error:
        raise InvalidConfig(f"{override!r}: {error}", field=f"{key}.{error.key}") from error
    except yaml.YAMLError as error:
        raise InvalidConfig(f"{override!r}: the value is not YAML", field=key) from error


def _default_dict(model: type[BaseModel], key: str) -> dict[str, Any]:
    """A copy of the dict that a key has by default; empty for another kind of key.

    A section is a model, which fills in its own defaults.
    """
    info = model.model_fields.get(key)
    default = None if info is None else info.get_default(call_default_factory=True)
    return copy.deepcopy(default) if isinstance(default, dict) else {}
