"""YAML that people write: ``1e-4`` is a number there, and a key that is given twice an error."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from ranksrgan.contracts.errors import InvalidConfig

_MERGE = "tag:yaml.org,2002:merge"


class Loader(yaml.SafeLoader):
    """YAML 1.1 reads ``1e-4`` as a string; everybody who types it means a number."""


class Dumper(yaml.SafeDumper):
    """Quotes the text ``1e-4``, which the loader would take for a number."""


for _yaml in (Loader, Dumper):
    _yaml.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?\d+(?:\.\d*)?[eE][-+]?\d+$"),
        list("-+0123456789"),
    )


class KeyTwice(yaml.YAMLError):
    """A mapping has a key twice. YAML forbids it, and PyYAML would take the last one.

    Attributes:
        key: dotted.
    """

    def __init__(self, key: str, first: int, second: int) -> None:
        lines = f"in line {first}" if first == second else f"in lines {first} and {second}"
        super().__init__(f"{key} is given twice, {lines}")
        self.key = key


def load_yaml(text: str | bytes) -> Any:
    """The value that a text in YAML stands for; None for an empty one.

    Raises:
        KeyTwice: a key stands twice in one mapping, at any depth. Merged keys (``<<``) may be given
            again beside it.
        yaml.YAMLError: the text is not YAML.
    """
    try:
        loader = Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            # Before keys are merged, which puts them beside those of the mapping itself.
            _refuse_twice(node, (), set())
            return loader.construct_document(node)
        finally:
            loader.dispose()
    # PyYAML lets through what Python says of the 31st of February, or of !!bool maybe.
    except (ValueError, LookupError, AttributeError, RecursionError) as error:
        raise yaml.YAMLError(str(error)) from error


def parse_yaml(text: str | bytes, where: str) -> Any:
    """The value that a text in YAML stands for; None for an empty one.

    Args:
        text: in UTF-8, if it is bytes.
        where: it stands, for messages.

    Raises:
        InvalidConfig: it is not YAML, or has a key twice; names the key and both lines.
    """
    try:
        return load_yaml(text)
    except KeyTwice as error:
        raise InvalidConfig(f"{where}: {error}", field=error.key) from error
    except yaml.YAMLError as error:
        raise InvalidConfig(f"{where} is not YAML: {error}", field=where) from error


def parse_keys(text: str | bytes, where: str) -> dict[str, Any]:
    """The keys and values of a text in YAML; none of an empty one.

    Raises:
        InvalidConfig: see `parse_yaml`, or something else than keys and values.
    """
    content = parse_yaml(text, where)
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise InvalidConfig(f"{where} should hold keys and values", field=where)
    return content


def read_yaml(path: Path) -> dict[str, Any]:
    """The keys and values of a YAML file.

    Raises:
        InvalidConfig: unreadable, or see `parse_keys`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidConfig(f"{path}: {error.strerror}", field=str(path)) from error
    except UnicodeDecodeError as error:
        raise InvalidConfig(f"{path} is not YAML: {error}", field=str(path)) from error
    return parse_keys(text, str(path))


def _refuse_twice(node: yaml.Node, above: tuple[str, ...], seen: set[int]) -> None:
    """Raise `KeyTwice` for the first one in a node; ``above`` are the keys that lead to it."""
    if id(node) in seen:  # an alias; it may stand for what it is in
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _refuse_twice(item, (*above, str(index)), seen)
    if not isinstance(node, yaml.MappingNode):
        return
    lines: dict[tuple[str, str], int] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        name, line = (key.tag, key.value), key.start_mark.line + 1
        if name in lines and key.tag != _MERGE:
            raise KeyTwice(".".join((*above, key.value)), lines[name], line)
        lines[name] = line
        _refuse_twice(value, (*above, key.value), seen)
