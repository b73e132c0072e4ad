"""Weighted sums of scorers, such as ``niqe+0.4*rmse`` (RankSRGAN, journal version, section 5.4).

    niqe+0.4*rmse                     a term is a scorer's name, with a weight before it if wanted
    niqe?border=4+0.4*rmse?border=4   options belong to their term
    niqe-2*ssim                       a minus sign is one only if a weight follows
    0.5*ma-0.5*niqe
    lpips-alex+niqe                   so this one is part of a name
    niqe+runs/ranker.safetensors      terms are whatever `open_scorer` opens,
    niqe+(grpc://host:port/ma)        addresses in parentheses,
    niqe+(runs/a+b.safetensors)       and so is a name that holds an operator itself

In the value of an option, ``%2B`` stands for a plus sign and ``%2A`` for an asterisk. A name that
*begins* with an address is the service's as a whole: the sum is made there.

Which way is better is worked out: NIQE and RMSE both fall as quality rises, and so does their sum.
Terms that pull both ways are refused.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput, NotSupported, UndefinedScore
from ranksrgan.contracts.joining import Joining, joining_of_all
from ranksrgan.contracts.scorer import DifferentiableScorer, Scorer, ScorerInfo
from ranksrgan.contracts.scores import require_scores
from ranksrgan.contracts.specs import is_remote, is_sum

#: What a sum may have at most, since names come from clients too.
MAX_TERMS = 16
MAX_CHARACTERS = 1000

_WEIGHT = re.compile(r"\s*(-?)\s*((?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*\*")


class Term(NamedTuple):
    """A scorer's name and its weight, which is finite and not 0."""

    weight: float
    name: str


class Fused:
    """A weighted sum of scorers, as a `Scorer`.

    It is differentiable if all terms are, needs references if one term does, and gives them only to
    those that do.

    Args:
        terms: weights and opened scorers, one or more.

    Raises:
        InvalidInput: no term, more than `MAX_TERMS`, a weight that is 0 or not finite, or terms of
            which higher is better for some and lower for others; the message says which.
    """

    def __init__(self, terms: Sequence[tuple[float, Scorer]]) -> None:
        self._terms = tuple(terms)
        _check_weights([weight for weight, _ in self._terms])
        infos = [(weight, scorer.info) for weight, scorer in self._terms]
        bounds = [
            (weight * info.lowest, weight * info.highest)
            if weight > 0
            else (weight * info.highest, weight * info.lowest)
            for weight, info in infos
        ]
        self._info = ScorerInfo(
            name=_canonical_name(infos),
            version="+".join(info.version for _, info in infos),
            higher_is_better=_direction(infos),
            needs_reference=any(info.needs_reference for _, info in infos),
            differentiable=all(info.differentiable for _, info in infos),
            min_side=max(info.min_side for _, info in infos),
            parameters_hash=_hash([info.parameters_hash for _, info in infos]),
            lowest=sum(low for low, _ in bounds),
            highest=sum(high for _, high in bounds),
        )

    @property
    def info(self) -> ScorerInfo:
        return self._info

    @property
    def joining(self) -> Joining:
        """As the term that is to be joined the least."""
        return joining_of_all(scorer for _, scorer in self._terms)

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        """See `Scorer.score`; the terms are added in their order.

        Without a gradient of every term the scores carry none: that of some would be another sum's.

        Raises:
            InvalidInput: a term returned other than a score for each image; names it.
            UndefinedScore: a term has no value, or the sum is infinity minus infinity.
        """
        self._check_references(references)
        with nullcontext() if self._info.differentiable else torch.no_grad():
            first, *others = (
                weight * self._of_term(scorer, images, references) for weight, scorer in self._terms
            )
            return self._defined(sum(others, start=first))

    def gradient(self, images: Tensor, references: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See `DifferentiableScorer.gradient`.

        Raises:
            NotSupported: one of the terms has no gradient.
        """
        self._check_references(references)
        scores: list[Tensor] = []
        gradients: list[Tensor] = []
        for weight, scorer in self._terms:
            if not scorer.info.differentiable or not isinstance(scorer, DifferentiableScorer):
                raise NotSupported(f"{scorer.info.name} has no gradient", field="scorer")
            against = references if scorer.info.needs_reference else None
            term_scores, term_gradients = scorer.gradient(images, against)
            require_scores(term_scores, scorer.info, len(images))
            scores.append(weight * term_scores)
            gradients.append(weight * term_gradients)
        total = self._defined(sum(scores[1:], start=scores[0]))
        return total, sum(gradients[1:], start=gradients[0])

    def _of_term(self, scorer: Scorer, images: Tensor, references: Tensor | None) -> Tensor:
        scores = scorer.score(images, references if scorer.info.needs_reference else None)
        require_scores(scores, scorer.info, len(images))
        return scores

    def _check_references(self, references: Tensor | None) -> None:
        if self._info.needs_reference and references is None:
            raise InvalidInput(f"{self._info.name} needs references", field="references")
        if not self._info.needs_reference and references is not None:
            raise InvalidInput(f"{self._info.name} takes no references", field="references")

    def _defined(self, scores: Tensor) -> Tensor:
        undefined = scores.isnan()
        if bool(undefined.any()):
            position = int(undefined.nonzero()[0, 0])
            raise UndefinedScore(
                f"image {position}: terms of {self._info.name} are infinite against each other, or "
                "one is not a number",
                field="images",
            )
        return scores


def fuse(name: str, open_term: Callable[[str], Scorer]) -> Fused:
    """The scorer of a sum's name; what `open_scorer` and services open sums with.

    Args:
        name: see the module's head.
        open_term: opens the name of a term.

    Raises:
        InvalidInput: the name is no sum, or what `Fused` raises.
        RankSRGANError: whatever ``open_term`` raises.
    """
    return Fused([(term.weight, open_term(term.name)) for term in parse_terms(name)])


def parse_terms(name: str) -> list[Term]:
    """Take a sum's name apart.

    Raises:
        InvalidInput: not a sum as the module's head describes it; the message says where.
    """
    if len(name) > MAX_CHARACTERS:
        raise InvalidInput(f"the name of a sum has at most {MAX_CHARACTERS} characters")
    terms: list[Term] = []
    rest = f"+{name}"
    while rest:
        rest = rest.removeprefix("+")
        match = _WEIGHT.match(rest)
        weight = float(match[1] + match[2]) if match else 1.0
        rest = rest[match.end() :] if match else rest
        length = _term_length(rest, name)
        terms.append(Term(weight, _term_name(rest[:length].strip(), name)))
        rest = rest[length:]
    _check_weights([term.weight for term in terms])
    return terms


def _term_length(text: str, whole: str) -> int:
    """Where the next operator outside of parentheses is, or the end."""
    depth = 0
    for position, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth < 0:
            break
        minus = character == "-" and _WEIGHT.match(text, position)
        if depth == 0 and (character == "+" or minus):
            return position
    if depth != 0:
        raise InvalidInput(f"{whole}: the parentheses do not match", field=whole)
    return len(text)


def _term_name(text: str, whole: str) -> str:
    if text.startswith("(") and _closing(text) == len(text) - 1:
        name = text[1:-1].strip()
    elif "*" in text:
        raise InvalidInput(
            f"{whole}: {text} is not a term; one weight goes before the name, as in 0.4*rmse",
            field=whole,
        )
    elif is_remote(text):
        raise InvalidInput(f"{whole}: put the address in parentheses: ({text})", field=whole)
    else:
        name = text
    if not name:
        raise InvalidInput(
            f"{whole}: a term is missing; write for example niqe+0.4*rmse", field=whole
        )
    return name


def _closing(text: str) -> int:
    """Where the parenthesis that ``text`` begins with closes."""
    depth = 0
    for position, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0:
            return position
    return -1


def _check_weights(weights: Sequence[float]) -> None:
    if not 1 <= len(weights) <= MAX_TERMS:
        raise InvalidInput(f"a sum has 1 to {MAX_TERMS} terms, not {len(weights)}", field="terms")
    for weight in weights:
        if weight == 0 or not math.isfinite(weight):
            raise InvalidInput(
                f"a weight of {weight:g} is not possible: finite and not 0 is wanted", field="terms"
            )


def _direction(infos: Sequence[tuple[float, ScorerInfo]]) -> bool:
    """Whether higher is better for the sum: for each term it must be the same."""
    higher: list[str] = []
    lower: list[str] = []
    for weight, info in infos:
        rises = info.higher_is_better == (weight > 0)
        (higher if rises else lower).append(_term_text(weight, info.name))
    if higher and lower:
        raise InvalidInput(
            f"the terms pull both ways: higher is better for {', '.join(higher)}, lower is better "
            f"for {', '.join(lower)}; turn a sign",
            field="terms",
        )
    return bool(higher)


def _canonical_name(infos: Sequence[tuple[float, ScorerInfo]]) -> str:
    name = ""
    for weight, info in infos:
        name += ("+" if name and weight > 0 else "") + _term_text(weight, info.name)
    return name


def _term_text(weight: float, name: str) -> str:
    name = f"({name})" if is_sum(name) or is_remote(name) else name
    return name if weight == 1 else f"{weight!r}".removesuffix(".0") + f"*{name}"


def _hash(hashes: Sequence[str]) -> str:
    """Of all parameters behind the sum: of the terms' hashes, one a line; empty without any."""
    if not any(hashes):
        return ""
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()
