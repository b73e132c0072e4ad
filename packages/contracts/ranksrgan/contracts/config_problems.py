"""What is wrong with a configuration, in the words of whoever wrote it.

pydantic says which key; here it is said where that was given, in a file or on the command line,
and what an unknown key may stand for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from itertools import groupby
from operator import itemgetter
from types import UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

# How much an unknown key has to be like one beside it, and like one that stands deeper.
_LIKE_NEIGHBOUR, _LIKE_DEEPER = 0.6, 0.8
_MOST_HINTS = 3
# A request with thousands of unknown keys is not to cost a server thousands of searches.
_MOST_HINTED = 20

Loc = tuple[int | str, ...]


class Problem(NamedTuple):
    """One thing that is wrong.

    Attributes:
        key: dotted, as it is written; empty if it is about the whole.
        text: what is wrong with it.
        unknown: whether there is no such key.
        kinds: of sections above the key, those that chose among models.
    """

    key: str
    text: str
    unknown: bool = False
    kinds: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.key}: {self.text}" if self.key else self.text


def find_problems(
    error: ValidationError, model: type[BaseModel], content: Mapping[str, Any]
) -> list[Problem]:
    """What pydantic found wrong with the content of a model."""
    found: list[Problem] = []
    for detail in error.errors():
        parts, kinds = _as_written(detail, content)
        unknown = detail["type"] == "extra_forbidden"
        if unknown:
            hint = _hint(detail["loc"], parts[:-1], model) if len(found) < _MOST_HINTED else ""
            text = f"unknown key{hint}"
        elif detail["type"] == "union_tag_not_found":
            tag = detail["ctx"]["discriminator"].strip("'")
            text = f"{tag} is missing, which says what the other keys are"
        else:
            text = detail["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
        found.append(Problem(".".join(parts), text, unknown, kinds))
    return found


def keys_of(model: type[BaseModel]) -> list[str]:
    """The keys of a model and of its sections, dotted."""
    return [".".join(path) for path in _paths(model, (), ())]


def explain(problems: Iterable[Problem], where: str | Callable[[str], str]) -> str:
    """All problems in one line, each behind the place of its key."""
    return _joined(
        (where if isinstance(where, str) else where(one.key), str(one)) for one in problems
    )


def explain_overridden(
    problems: Iterable[Problem], file: str | None, overrides: Sequence[str]
) -> str:
    """All problems in one line, each behind the override that it comes from, or else the file.

    Args:
        problems: see `find_problems`.
        file: that was read; None if there is none.
        overrides: ``key.key=value`` on top of it, of which later ones win.
    """
    return _joined(_blamed(one, file, overrides) for one in problems)


def _joined(placed: Iterable[tuple[str, str]]) -> str:
    """The place and what is wrong there, each place once for all that follow each other."""
    return "; ".join(
        f"{place}: {'; '.join(text for _, text in group)}"
        for place, group in groupby(placed, key=itemgetter(0))
    )


def _blamed(problem: Problem, file: str | None, overrides: Sequence[str]) -> tuple[str, str]:
    for override in reversed(overrides):
        key = override.partition("=")[0]
        if problem.key == key:
            return override, problem.text
        if problem.key.startswith(f"{key}."):
            return override, str(problem)
        if problem.unknown and key.startswith(f"{problem.key}."):
            return override, str(problem)
    together = " ".join(_concerned(problem, overrides))
    if not together:
        return file or "configuration", str(problem)
    return f"{file} with {together}" if file else together, str(problem)


def _concerned(problem: Problem, overrides: Sequence[str]) -> list[str]:
    """The overrides that a problem of several keys may come from."""
    latest = {override.partition("=")[0]: override for override in overrides}
    section, _, _ = problem.key.rpartition(".")
    chosen = [
        override
        for key, override in latest.items()
        if key.rpartition(".")[0] == section and override.partition("=")[2] in problem.kinds
    ]
    beneath = {
        key: override
        for key, override in latest.items()
        if not problem.key or key.startswith(f"{problem.key}.")
    }
    named = [text for key, text in beneath.items() if _is_named(key, problem)]
    return chosen or named or (list(beneath.values()) if problem.key else [])


def _is_named(key: str, problem: Problem) -> bool:
    """Whether a problem speaks of a key, by its last part at least, or of a section around it."""
    parts = key.split(".")
    names = {key, parts[-1], key.removeprefix(f"{problem.key}.")}
    around = {".".join(parts[:depth]) for depth in range(1, len(parts))} - {problem.key}
    return any(
        re.search(rf"(?<![\w.]){re.escape(name)}{end}", problem.text)
        for found, end in ((names, r"(?!\w)"), (around, r"(?!\.?\w)"))
        for name in found
    )


def _as_written(detail: ErrorDetails, content: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The parts of a key, and what pydantic puts among them: which model of several was meant."""
    parts: list[str] = []
    kinds: list[str] = []
    loc = detail["loc"]
    for depth, part in enumerate(loc, 1):
        if isinstance(content, list | tuple):
            content = dict(enumerate(content))
        if isinstance(content, Mapping) and part in content:
            content = content[part]
        elif depth < len(loc) or detail["type"] not in {"missing", "invalid_key"}:
            kinds.append(str(part))
            continue
        parts.append(str(part))
    return tuple(parts), tuple(kinds)


def _hint(loc: Loc, section: tuple[str, ...], model: type[BaseModel]) -> str:
    """What an unknown key may stand for: the key most like it at its level or below."""
    models = [model]
    for part in loc[:-1]:
        models = _step(models, part)
    matcher = SequenceMatcher(b=str(loc[-1]))
    found = []
    for path in {path for one in models for path in _paths(one, section, ())}:
        depth = len(path) - len(section)
        enough = _LIKE_NEIGHBOUR if depth == 1 else _LIKE_DEEPER
        matcher.set_seq1(path[-1])
        # The first two are bounds of the third, which takes long.
        if all(
            ratio() >= enough
            for ratio in (matcher.real_quick_ratio, matcher.quick_ratio, matcher.ratio)
        ):
            found.append(((-matcher.ratio(), depth), ".".join(path)))
    best = sorted(path for rank, path in found if rank == min(found)[0])
    return f"; did you mean {' or '.join(best)}?" if 0 < len(best) <= _MOST_HINTS else ""


def _step(models: Sequence[type[BaseModel]], part: int | str) -> list[type[BaseModel]]:
    """The models that a part of a key leads to: of a field, or of those the one that is meant."""
    below = [
        found
        for model in models
        if part in model.model_fields
        for found in _models(model.model_fields[str(part)].annotation, of_items=True)
    ]
    if below:
        return below
    meant = [
        model
        for model in models
        if part == model.__name__
        or any(part == field.default for field in model.model_fields.values())
    ]
    return meant or list(models)


def _paths(
    model: type[BaseModel], above: tuple[str, ...], within: tuple[type[BaseModel], ...]
) -> Iterator[tuple[str, ...]]:
    """The keys of a model and of its sections, each with the keys that lead to it."""
    for name, field in model.model_fields.items():
        yield (*above, name)
        for section in _models(field.annotation, of_items=False):
            if section not in (*within, model):
                yield from _paths(section, (*above, name), (*within, model))


def _models(annotation: Any, *, of_items: bool) -> list[type[BaseModel]]:
    """The models that a value may be of, or also the items of a list or dict."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if not of_items and get_origin(annotation) not in {Union, UnionType, Annotated}:
        return []
    return [found for one in get_args(annotation) for found in _models(one, of_items=of_items)]
