"""Configuration: pydantic models, YAML files, overrides on the command line.

An unknown key is an error that names the file and the key, and what is close to it.
"""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from ranksrgan.contracts.errors import InvalidConfig, UnknownName


class Config(BaseModel):
    """Base of every configuration: frozen, and strict about unknown keys; numbers are finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


C = TypeVar("C", bound=Config)


def load_config(model: type[C], path: Path | None = None, overrides: Sequence[str] = ()) -> C:
    """Build a configuration from a YAML file and ``key.key=value`` overrides.

    Args:
        model: the configuration's class.
        path: a YAML file; None for the defaults alone.
        overrides: each ``dotted.key=value``, the value in YAML (``train.lr=1e-4``). What lies in a
            plain dict by default keeps its other keys (``losses.plcc=1``).

    Raises:
        InvalidConfig: unreadable, not YAML, unknown key, wrong type; names file and key.
    """
    content: dict[str, Any] = {} if path is None else read_yaml(Path(path))
    for override in overrides:
        _apply(model, content, override)
    return make_config(model, content, "configuration" if path is None else str(path))


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
    for override in overrides:
        _apply(model, content, override)
    return make_config(model, content, str(path))


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
    try:
        return model.model_validate(dict(content))
    except ValidationError as error:
        raise InvalidConfig(_explain(error, model, where), field=_first_key(error)) from error


def dump_yaml(config: Config) -> str:
    """The resolved configuration as YAML, defaults included."""
    return yaml.dump(config.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False)


def read_yaml(path: Path) -> dict[str, Any]:
    """The keys and values of a YAML file.

    Raises:
        InvalidConfig: unreadable, not YAML, or something else than keys and values.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise InvalidConfig(f"{path}: {error.strerror}", field=str(path)) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidConfig(f"{path} is not YAML: {error}", field=str(path)) from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise InvalidConfig(f"{path} should hold keys and values", field=str(path))
    return content


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
        content[last] = yaml.load(value, Loader=_Loader)
    except yaml.YAMLError as error:
        raise InvalidConfig(f"{override!r}: the value is not YAML", field=key) from error


def _default_dict(model: type[BaseModel], key: str) -> dict[str, Any]:
    """A copy of the dict that a key has by default; empty for another kind of key.

    A section is a model, which fills in its own defaults.
    """
    info = model.model_fields.get(key)
    default = None if info is None else info.get_default(call_default_factory=True)
    return copy.deepcopy(default) if isinstance(default, dict) else {}


def _explain(
    error: ValidationError, model: type[BaseModel], where: str | Callable[[str], str]
) -> str:
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            near = difflib.get_close_matches(str(problem["loc"][-1]), _keys(model), n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            line = f"{key}: unknown key{hint}"
        else:
            line = f"{key}: {problem['msg']}" if key else problem["msg"]
        lines.append(line if isinstance(where, str) else f"{where(key)}: {line}")
    return (f"{where}: " if isinstance(where, str) else "") + "; ".join(lines)


def _keys(model: type[BaseModel]) -> set[str]:
    names: set[str] = set()
    for name, info in model.model_fields.items():
        names.add(name)
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            names |= _keys(info.annotation)
    return names


def _first_key(error: ValidationError) -> str:
    return ".".join(str(part) for part in error.errors()[0]["loc"])


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads ``1e-4`` as a string; everybody who types it means a number."""


class _Dumper(yaml.SafeDumper):
    """Quotes the text ``1e-4``, which the loader would take for a number."""


for _yaml in (_Loader, _Dumper):
    _yaml.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?\d+(?:\.\d*)?[eE][-+]?\d+$"),
        list("-+0123456789"),
    )
