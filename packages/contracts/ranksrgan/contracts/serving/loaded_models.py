"""The models of a repository that serve, and how one takes the place of another.

A new version is opened and runs once beside the one that serves; only then does it take the name
over, in one step. Whoever has opened the old one keeps it: a Python reference is the lease, and
with the last of them the old weights go. So no request is dropped, or sees two versions, and for as
long as that takes there must be room for both.

What is loaded serves until somebody unloads it. A file that has gone, or cannot be loaded any more,
takes nothing away: the reason stands beside the version that goes on serving.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum, auto
from pathlib import Path
from typing import Generic, TypeVar

from ranksrgan.contracts import heaps
from ranksrgan.contracts.checkpoint import Weights
from ranksrgan.contracts.discovery import parse_options
from ranksrgan.contracts.errors import (
    InternalError,
    InvalidConfig,
    InvalidInput,
    RankSRGANError,
    UnknownName,
)
from ranksrgan.contracts.scorer import Scorer
from ranksrgan.contracts.serving.model_checks import USUAL_SHAPE, require_alike, warm_up
from ranksrgan.contracts.serving.model_repository import (
    SETTINGS,
    ModelRepository,
    ModelSettings,
    parse_ref,
)
from ranksrgan.contracts.serving.model_status import ModelState, ModelStatus, VersionStatus
from ranksrgan.contracts.serving.observer import Observers
from ranksrgan.contracts.serving.settings import RepositorySettings
from ranksrgan.contracts.upscaler import Upscaler, UpscalerInfo

log = logging.getLogger(__name__)

M = TypeVar("M", bound=Upscaler | Scorer)


@dataclass(frozen=True)
class _Version(Generic[M]):
    """A version; ``source`` tells what it was loaded from, or could not be."""

    status: VersionStatus
    source: str = ""
    model: M | None = None  # as NAME:VERSION
    default: M | None = None  # as NAME


class _Cause(Enum):
    """Why a version is looked at: its file may be another now, or somebody wants it loaded."""

    REFRESH = auto()
    LOAD = auto()
    RELOAD = auto()


class LoadedModels(Generic[M]):
    """What of a repository is loaded. Any thread may use it; changes are made one at a time.

    Args:
        repository: where models come from.
        open_model: makes a model of weights and options; what it calls itself does not matter.
        named: gives a model a name and a version, weights shared.
        observers: are told of what is loaded.
    """

    def __init__(
        self,
        repository: ModelRepository,
        open_model: Callable[[Weights, Mapping[str, str]], M],
        named: Callable[[M, str, str], M],
        observers: Observers | None = None,
    ) -> None:
        self._observers = observers or Observers()
        self._repository = repository
        self._open_model = open_model
        self._named = named
        self._changing = threading.Lock()
        # Replaced as wholes, so that readers need no lock.
        self._versions: dict[str, dict[int, _Version[M]]] = {}
        self._reasons: dict[str, str] = {}
        self._refused: dict[str, str] = {}
        self._serving: dict[str, M] = {}

    def get(self, name: str) -> M | None:
        """The model ``NAME`` (its highest version that is ready) or ``NAME:VERSION``, if it serves.

        It stays what it is for as long as the caller holds it.
        """
        return self._serving.get(name)

    def serving(self) -> list[M]:
        """Every model that serves, once: as ``NAME``, and older versions as ``NAME:VERSION``."""
        serving = self._serving
        defaults = {
            f"{name}:{model.info.model_version}"
            for name, model in serving.items()
            if ":" not in name
        }
        return [model for name, model in serving.items() if name not in defaults]

    def statuses(self) -> list[ModelStatus]:
        """Everything in the repository by name, and what was refused of it; versions that a
        ``model.yaml`` leaves out are not told of."""
        loaded = {name: self._status(name) for name in {**self._versions, **self._reasons}}
        refused = {name: ModelStatus(name, (), why) for name, why in self._refused.items()}
        return [status for _, status in sorted({**refused, **loaded}.items())]

    def load(self, ref: str) -> ModelStatus:
        """Load what does not serve of ``NAME``, or ``NAME:VERSION``.

        Raises:
            InvalidInput: not such a name; or of what lies there, see `ModelRepository`.
            UnknownName: there is no such model.
            InvalidConfig, InvalidCheckpoint, LimitExceeded: it cannot be loaded. What could be
                serves, and what served goes on.
        """
        return self._change(ref, _Cause.LOAD)

    def reload(self, ref: str) -> ModelStatus:
        """Load what serves of a model anew, and what is new; raises as `load`.

        A version that was unloaded stays so, unless it is the one that is named.
        """
        return self._change(ref, _Cause.RELOAD)

    def unload(self, ref: str) -> ModelStatus:
        """Offer ``NAME``, or ``NAME:VERSION``, no more; those who have it keep it.

        Raises:
            InvalidInput: not such a name.
            UnknownName: no such model is known here.
        """
        name, only = parse_ref(ref)
        with self._changing:
            gone = [v for v in self._versions.get(name, {}) if only in (None, v)]
            if not gone:
                raise UnknownName(f"there is no model {ref}", field="model")
            for version in gone:
                self._put(name, _Version(VersionStatus(version, ModelState.UNLOADED)))
            log.info("model %s is unloaded", ref)
            return self._status(name)

    def refresh(self) -> list[RankSRGANError]:
        """Load what is new in the repository and what has changed.

        Returns:
            What is wrong, and has been noted beside the models concerned.

        Raises:
            OSError: the repository cannot be read at all.
        """
        with self._changing:
            names, refused = self._repository.scan()
            for name in sorted(set(refused) - set(self._refused)):
                log.error("refused in the model repository: %s", refused[name])
            self._refused = refused
            errors: list[RankSRGANError] = [
                InvalidInput(why, field="models") for why in refused.values()
            ]
            for name in sorted({*names, *self._versions}):
                errors += self._bring_up(name, None, _Cause.REFRESH)
            return errors

    @contextmanager
    def polling(self, seconds: float | None) -> Iterator[None]:
        """Within the block, `refresh` now and then; never if ``seconds`` is None."""
        if seconds is None:
            yield
            return
        ended = threading.Event()

        def poll() -> None:
            while not ended.wait(seconds):
                try:
                    self.refresh()
                except Exception:  # the next look may find the disk in a better state
                    log.exception("the model repository could not be looked at")

        thread = threading.Thread(target=poll, name="model-repository", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _change(self, ref: str, cause: _Cause) -> ModelStatus:
        name, only = parse_ref(ref)
        with self._changing:
            named = self._versions.get(name, {}).get(only or 0)
            if named is not None and named.status.state is ModelState.UNLOADED:
                cause = _Cause.LOAD
            errors = self._bring_up(name, only, cause)
            if errors:
                raise errors[0]
            if only is not None and only not in self._versions.get(name, {}):
                raise UnknownName(
                    f"there is no {ref} in the model repository, or its model.yaml leaves it out",
                    field="model",
                )
            return self._status(name)

    def _bring_up(self, name: str, only: int | None, cause: _Cause) -> list[RankSRGANError]:
        """Look at the versions of a model, or at one; returns what is wrong with them."""
        self._reasons, before = _without(self._reasons, name), self._reasons.get(name)
        known = self._versions.get(name, {})
        try:
            settings = self._repository.settings(name)
            there = self._repository.versions(name)
            if missing := sorted(set(settings.versions or ()) - {*there, *known}):
                raise InvalidConfig(
                    f"{name}/{SETTINGS} names version {missing[0]}, which is not there",
                    field="versions",
                )
        except RankSRGANError as error:
            if isinstance(error, UnknownName):
                self._forget(name, [v for v, one in known.items() if one.model is None])
            if name in self._versions or not isinstance(error, UnknownName):
                self._reasons = {**self._reasons, name: str(error)}
                if before != str(error):
                    log.error("model %s: %s", name, error)
            return [error]
        wanted = {*there, *known}
        if settings.versions is not None:
            wanted &= set(settings.versions)
        self._forget(
            name,
            [
                version
                for version, one in known.items()
                if version not in wanted or (version not in there and one.model is None)
            ],
        )
        errors: list[RankSRGANError] = []
        for version in sorted(wanted & {*there, *self._versions.get(name, {})}):
            if only in (None, version):
                try:
                    self._consider(name, version, settings, cause)
                except RankSRGANError as error:
                    errors.append(error)
        return errors

    def _consider(self, name: str, version: int, settings: ModelSettings, cause: _Cause) -> None:
        """Load a version if there is cause to, beside what serves."""
        old = self._versions.get(name, {}).get(version)
        if old is not None and (
            (old.status.state is ModelState.UNLOADED and cause is not _Cause.LOAD)
            or (old.model is not None and cause is _Cause.LOAD)
        ):
            return
        source = ""
        try:
            with self._repository.open(name, version) as file:
                source = f"{file.mark} {json.dumps(settings.option_texts(), sort_keys=True)}"
            if old is not None and old.source == source and cause is _Cause.REFRESH:
                return
            if old is None or old.model is None:
                self._put(name, _Version(VersionStatus(version, ModelState.LOADING)))
            began = time.monotonic()
            new = self._load(name, version, settings, source)
        except RankSRGANError as error:
            self._fail(name, version, old, source, error)
            raise
        except Exception as error:
            incident = uuid.uuid4().hex[:12]
            log.exception("incident %s in loading model %s:%d", incident, name, version)
            failure = InternalError(
                f"{name}:{version} could not be loaded; the server's log has incident {incident}"
            )
            self._fail(name, version, old, source, failure)
            raise failure from error
        self._put(name, new)
        heaps.give_back()  # what loading took
        self._observers.loaded(f"{name}:{version}", time.monotonic() - began)
        log.info("model %s:%d is ready, sha256 %s", name, version, new.status.file_hash)

    def _load(self, name: str, version: int, settings: ModelSettings, source: str) -> _Version[M]:
        with self._repository.read(name, version) as (weights, mark, sha256):
            model = self._open_model(weights, settings.option_texts())
            warm_up(model, settings.warm_up, str(weights.path))
        for other in self._versions.get(name, {}).values():
            if other.model is not None:
                require_alike(model, other.model, f"{name}:{version}")
        own = self._named(model, f"{name}:{version}", str(version))
        info = own.info
        status = VersionStatus(
            version,
            ModelState.READY,
            info=info,
            architecture=info.architecture
            if isinstance(info, UpscalerInfo)
            else weights.architecture or "",
            file_hash=sha256,
            size=mark.size,
            loaded_at=time.time(),
        )
        return _Version(status, source, own, self._named(model, name, str(version)))

    def _fail(
        self, name: str, version: int, old: _Version[M] | None, source: str, error: RankSRGANError
    ) -> None:
        """Note why a version could not be loaded; what served goes on serving."""
        if old is not None and old.model is not None:
            noted = replace(old, status=replace(old.status, reason=str(error)), source=source)
        else:
            noted = _Version(VersionStatus(version, ModelState.FAILED, str(error)), source)
        if old is None or old.status != noted.status:
            log.error("model %s:%d: %s", name, version, error)
        self._put(name, noted)

    def _put(self, name: str, version: _Version[M]) -> None:
        versions = {**self._versions.get(name, {}), version.status.version: version}
        self._publish({**self._versions, name: dict(sorted(versions.items()))})

    def _forget(self, name: str, gone: list[int]) -> None:
        kept = {v: one for v, one in self._versions.get(name, {}).items() if v not in gone}
        others = _without(self._versions, name)
        self._publish({**others, name: kept} if kept else others)

    def _publish(self, versions: dict[str, dict[int, _Version[M]]]) -> None:
        """Replace what there is, and with it what the names stand for."""
        serving: dict[str, M] = {}
        for name, of_name in sorted(versions.items()):
            for number, one in of_name.items():
                if one.model is not None and one.default is not None:
                    serving[name] = one.default
                    serving[f"{name}:{number}"] = one.model
        self._versions, self._serving = versions, serving

    def _status(self, name: str) -> ModelStatus:
        versions = tuple(one.status for one in self._versions.get(name, {}).values())
        return ModelStatus(name, versions, self._reasons.get(name, ""))


def open_named(
    specs: Mapping[str, Path],
    open_model: Callable[[str, Mapping[str, str]], M],
    observers: Observers,
) -> dict[str, M]:
    """Open models that an operator names one by one, run each once, and tell of it.

    Args:
        specs: by name: ``PATH``, ``PATH?device=cuda``.
        open_model: of a path and its options, as an entry point; what it raises is raised.
        observers: are told what was loaded.

    Raises:
        InvalidInput: see `parse_options`.
        InvalidCheckpoint: see `warm_up`.
    """
    models = {}
    for name, spec in ((name, str(spec)) for name, spec in specs.items()):
        began = time.monotonic()
        path, _, options = spec.partition("?")
        models[name] = open_model(path, parse_options(options, spec))
        warm_up(models[name], USUAL_SHAPE, spec)
        observers.loaded(name, time.monotonic() - began)
    return models


def open_models(
    settings: RepositorySettings,
    open_model: Callable[[Weights, Mapping[str, str]], M],
    named: Callable[[M, str, str], M],
    observers: Observers | None = None,
) -> LoadedModels[M] | None:
    """Load a repository for a server that is about to start; None if there is none.

    One model that cannot be loaded does not keep others from serving: it is logged, and noted.

    Raises:
        InvalidInput: the root is no folder.
        InvalidConfig, InvalidCheckpoint, LimitExceeded: of the first model, if none can be loaded.
    """
    if settings.root is None:
        return None
    models = LoadedModels(ModelRepository(settings.root), open_model, named, observers)
    errors = models.refresh()
    if not models.serving():
        if errors:
            raise errors[0]
        log.warning("%s holds no model: NAME/VERSION/model.safetensors", settings.root)
    return models


V = TypeVar("V")


def _without(content: dict[str, V], name: str) -> dict[str, V]:
    return {key: value for key, value in content.items() if key != name}
