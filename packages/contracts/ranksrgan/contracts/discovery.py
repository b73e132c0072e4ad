"""From a name to the thing: scorers, upscalers and rank datasets, wherever they are.

    niqe                                   a scorer that an installed package offers
    ranker-niqe, ranksrgan                 a trained network that came with its package
    niqe?border=4&luma=gray                the same with options
    runs/ranker.safetensors                weights; the file says what they are
    grpc://host:port/niqe                  a service
    grpcs://host:port/niqe                 a service over TLS, see serving.client_credentials
    unix:///run/ranksrgan/ranker.sock/ranker
    ranks?split=train                      a rank dataset's folder
    niqe+0.4*rmse                          a weighted sum of scorers, see ranksrgan.metrics.fused

In the value of an option ``%XX`` stands for a character, as in a URL; a plus sign is one. But in
the name of a scorer it adds, wherever it stands outside of parentheses: write ``%2B`` there.

Packages offer what they have through entry points (groups ``ranksrgan.scorers``,
``ranksrgan.upscalers``, ``ranksrgan.pair_sources``), so nobody imports a package that is not
installed. An entry point is a callable ``(argument, options) -> thing``: the argument is the path
of a weights file or folder, or the entry's own name where there is none. Sums have a group of their
own, ``ranksrgan.scorer_sums``, whose one entry gets the whole name and what opens a term.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl

from ranksrgan.contracts.checkpoint import load_weights
from ranksrgan.contracts.errors import InvalidCheckpoint, InvalidInput, UnknownName
from ranksrgan.contracts.pairs import PairSelection, PairSource
from ranksrgan.contracts.scorer import Scorer, ScorerInfo
from ranksrgan.contracts.shipped import GENERATORS, RANKERS
from ranksrgan.contracts.specs import (
    SCHEMES,
    WEIGHTS_SUFFIXES,
    is_remote,
    is_sum,
    parse_remote,
    service_address,
)
from ranksrgan.contracts.upscaler import Upscaler, UpscalerInfo

Opener = Callable[[str, Mapping[str, str]], Any]
SumOpener = Callable[[str, Callable[[str], Scorer]], Scorer]

SCORERS = "ranksrgan.scorers"
UPSCALERS = "ranksrgan.upscalers"
PAIR_SOURCES = "ranksrgan.pair_sources"
SUMS = "ranksrgan.scorer_sums"

_METRICS = (
    *("niqe", "ma", "pi", "psnr", "ssim", "rmse", "ms_ssim"),
    *("gmsd", "fsim", "fsimc", "vif", "vifp", "lpips", "dists", "pieapp"),
)

# Which distribution brings an entry that is not there, for the error message.
_PROVIDERS = {
    **{(SCORERS, name): "ranksrgan-metrics" for name in _METRICS},
    **{(SCORERS, name): "ranksrgan-ranker" for name in ("ensemble", "ranker", *RANKERS)},
    (UPSCALERS, "bicubic"): "ranksrgan-metrics",
    **{(UPSCALERS, name): "ranksrgan-srgan" for name in ("generator", *GENERATORS)},
    (PAIR_SOURCES, "rankdataset"): "ranksrgan-rankdata",
    (SUMS, "fused"): "ranksrgan-metrics",
}


def open_scorer(
    spec: str | Path, *, timeout: float = 120.0, retry_for: float = 0.0, pinned: bool = False
) -> Scorer:
    """Open a scorer by name, weights file or service address, or a weighted sum of such.

    Args:
        spec: see the module's head. A file that is there goes before a sum of that name; a `Path`
            is never a sum, and otherwise what its text is.
        timeout: seconds a remote call may take.
        retry_for: seconds to go on trying while a service is full or cannot be reached.
        pinned: whether the scorer of a service stays the one that is opened now. Else it becomes
            another when the service loads one of that name. What is pinned raises ModelReplaced, or
            UnknownName, when it is not served any more.

    Raises:
        UnknownName: nobody offers it; the message lists what is offered and what to install.
        InvalidInput: a malformed spec or option.
        InvalidCheckpoint: the file is not a Ranker's, or it is a folder.
        ServiceUnavailable: nobody answers there.
    """
    may_be_sum, spec = isinstance(spec, str), os.fspath(spec)
    if is_remote(spec):
        from ranksrgan.contracts.clients.scorer import connect_scorer

        remote = parse_remote(spec)
        return connect_scorer(
            remote.address, remote.name, timeout=timeout, retry_for=retry_for, pinned=pinned
        )
    if may_be_sum and names_sum(spec):
        open_term = partial(open_scorer, timeout=timeout, retry_for=retry_for, pinned=pinned)
        return cast(SumOpener, _load_entry(SUMS, "fused"))(spec, open_term)
    return cast(Scorer, _open_local(spec, SCORERS, weights_entry="ranker", kind="ranker"))


def open_upscaler(
    spec: str | Path, *, timeout: float = 300.0, retry_for: float = 0.0, pinned: bool = False
) -> Upscaler:
    """Open an upscaler by name (``bicubic?scale=4``), weights file or service address.

    Args and errors as in `open_scorer`.
    """
    spec = os.fspath(spec)
    if is_remote(spec):
        from ranksrgan.contracts.clients.upscaler import connect_upscaler

        remote = parse_remote(spec)
        return connect_upscaler(
            remote.address, remote.name, timeout=timeout, retry_for=retry_for, pinned=pinned
        )
    return cast(Upscaler, _open_local(spec, UPSCALERS, weights_entry="generator", kind="generator"))


def list_scorers(service: str, *, timeout: float = 10.0) -> list[ScorerInfo]:
    """What a service offers to `open_scorer`, each under its ``info.name`` behind the address.

    Args:
        service: ``grpc://HOST:PORT`` or ``unix:///PATH.sock``.
        timeout: seconds the answer may take.

    Raises:
        InvalidInput: a malformed address.
        ServiceUnavailable: nobody answers there.
        DeadlineExceeded: no answer in time.
        NotSupported: it scores nothing.
    """
    from ranksrgan.contracts.clients import scorer as remote_scorer

    return remote_scorer.list_scorers(service_address(service), timeout=timeout)


def list_upscalers(service: str, *, timeout: float = 10.0) -> list[UpscalerInfo]:
    """What a service offers to `open_upscaler`. Args and errors as in `list_scorers`."""
    from ranksrgan.contracts.clients import upscaler as remote_upscaler

    return remote_upscaler.list_upscalers(service_address(service), timeout=timeout)


def open_pair_source(
    spec: str | Path, *, timeout: float = 120.0, retry_for: float = 60.0, **options: str
) -> PairSource:
    """Open a rank dataset's folder, or the dataset of a service.

    Args:
        spec: ``ranks``, ``ranks?split=train&min_gap=0.1``, ``grpc://HOST:PORT/NAME?split=train`` or
            ``unix:///PATH.sock/NAME``. A folder that is there goes before options of that text.
        timeout: seconds a service may take for one pair.
        retry_for: seconds to go on trying while the service is full or not there. A training
            outlives the restart of what it reads from.
        options: ``split`` (all without it), ``ties`` (``drop`` or ``keep``) and ``min_gap``, as in
            the spec.

    Raises:
        UnknownName: there is nothing of that name, or the package that reads rank datasets is not
            installed.
        InvalidInput: an unknown option, one that is given twice, or a value that it cannot have.
        InvalidDataset: it is not a rank dataset, contradicts itself, or has no such split.
        ServiceUnavailable: nobody answers there.
    """
    spec = os.fspath(spec)
    name, _, query = spec.partition("?")
    if not is_remote(spec) and _is_folder(spec):
        name, query = spec, ""
    stated = parse_options(query, spec)
    twice = sorted(set(stated) & set(options))
    if twice:
        raise InvalidInput(f"{spec}: {twice[0]} is given beside it too", field=twice[0])
    wanted = {**stated, **options}
    if is_remote(spec):
        from ranksrgan.contracts.clients.pairs import connect_pair_source

        remote = parse_remote(name)
        selection = PairSelection.from_options(wanted)
        return connect_pair_source(
            remote.address, remote.name, selection, timeout=timeout, retry_for=retry_for
        )
    if not _is_folder(name):
        raise UnknownName(f"{name!r} is no folder; a rank dataset is one", field=name)
    return cast(PairSource, _load_entry(PAIR_SOURCES, "rankdataset")(name, wanted))


def offered(group: str) -> list[str]:
    """The names that installed packages offer in an entry point group."""
    return sorted({entry.name for entry in entry_points(group=group)})


def from_anywhere(spec: str) -> str:
    """A spec that means the same in a process that was started elsewhere: a file in it, if there is
    one, with its whole path."""
    file, separator, options = spec.partition("?")
    return f"{Path(file).absolute()}{separator}{options}" if _is_file(file) else spec


def parse_options(text: str, spec: str) -> dict[str, str]:
    """``border=4&luma=y`` as a dict.

    Raises:
        InvalidInput: not of that form, or a key twice.
    """
    try:
        # In a form a plus sign would stand for a space; these are no forms.
        escaped = text.replace("+", "%2B")
        pairs = parse_qsl(escaped, strict_parsing=bool(text), keep_blank_values=True)
    except ValueError as error:
        raise InvalidInput(f"{spec}: options look like ?border=4&luma=y", field=spec) from error
    options = dict(pairs)
    if len(options) != len(pairs):
        raise InvalidInput(f"{spec}: an option is given twice", field=spec)
    return options


def _open_local(spec: str, group: str, *, weights_entry: str, kind: str) -> Any:
    name, _, query = spec.partition("?")
    options = parse_options(query, spec)
    if Path(name).suffix in WEIGHTS_SUFFIXES:
        weights = load_weights(Path(name))
        if weights.kind not in (None, kind):
            raise InvalidCheckpoint(
                f"{name} holds a {weights.kind}; a {kind} is wanted here", field=name
            )
        return _load_entry(group, weights_entry)(name, options)
    if name not in offered(group) and (group, name) not in _PROVIDERS:
        _refuse_path(name, kind)
    return _load_entry(group, name)(name, options)


def _refuse_path(name: str, kind: str) -> None:
    """Raise what is wrong with a file or folder that is there and holds no weights by its name."""
    *some, last = WEIGHTS_SUFFIXES
    wanted = f"{', '.join(some)} or {last}"
    if _is_folder(name):
        weights = _weights_in(Path(name), kind)
        such = f", such as {weights}" if weights else f": {wanted} is wanted"
        raise InvalidCheckpoint(f"{name} is a folder; name the file in it{such}", field=name)
    if _is_file(name):
        raise InvalidCheckpoint(f"{name} is no weights file: {wanted} is wanted", field=name)


def _weights_in(folder: Path, kind: str) -> Path | None:
    """A file of weights in a folder, one that is called by its kind before others."""
    try:
        found = [
            path
            for path in folder.iterdir()
            if path.suffix in WEIGHTS_SUFFIXES
            and not path.name.endswith(".state.pt")  # of a training, which nobody scores with
            and path.is_file()
        ]
    except OSError:
        return None
    return min(found, key=lambda path: (path.stem != kind, path.name), default=None)


def names_sum(spec: str) -> bool:
    """Whether it is a sum of scorers, and no file with such a name."""
    return is_sum(spec) and not _is_file(spec.partition("?")[0])


def asks_service(spec: str) -> bool:
    """Whether a scorer's name is the address of a service, or a sum with one in it."""
    return is_remote(spec) or (names_sum(spec) and any(scheme in spec for scheme in SCHEMES))


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except OSError:  # too long for a file's name
        return False


def _is_folder(name: str) -> bool:
    try:
        return Path(name).is_dir()
    except OSError:
        return False


def _load_entry(group: str, name: str) -> Opener:
    for entry in entry_points(group=group, name=name):
        return cast(Opener, entry.load())
    provider = _PROVIDERS.get((group, name))
    if provider:
        raise UnknownName(
            f"{name} needs the package {provider}: in the checkout, "
            f"pip install packages/{provider.removeprefix('ranksrgan-')}",
            field=name,
        )
    raise UnknownName(
        f"{name!r} is neither a file nor one of {', '.join(offered(group)) or 'nothing installed'}",
        field=name,
    )
