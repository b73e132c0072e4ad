"""What a client of the service may ask for, and the configuration of a training that it stands for.

A client's configuration has the keys of `TrainConfig`. What is a path or a spec there is a name
here, and is looked up in the server's data root:

    images                     images/NAME, a folder of them or a pack; those with noise likewise
    blur kernels               kernels/NAME, a folder of them
    weights to start from      generators/NAME, trained here before, or models/NAME; of a
                               generator a shipped one's name too
    losses.perceptual.network  an asset by name (vgg19), models/NAME, or a Ranker: rankers/NAME
    Rankers                    rankers/NAME or a shipped one's name, with options, or one, perhaps a
                               service's, that the operator has given a name
    losses.scorers             likewise, or a metric as below
    scorers of the validation  metrics by name, with options, and weighted sums of them

A key of free text that is not in `NAMES` or `PLAIN` is refused, whatever it comes to mean: nothing
that a client sends is ever opened as a path or an address.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import NoneType
from typing import Any, Literal, NamedTuple, get_args, get_origin

from pydantic import BaseModel

from ranksrgan.contracts.assets import ASSETS
from ranksrgan.contracts.config import make_config
from ranksrgan.contracts.data_root import DataRoot
from ranksrgan.contracts.errors import InvalidInput, UnknownName
from ranksrgan.contracts.shipped import RANKERS as SHIPPED_RANKERS
from ranksrgan.contracts.specs import is_sum
from ranksrgan.metrics.catalog import open_name
from ranksrgan.srgan.config import TrainConfig
from ranksrgan.srgan.shipped import SHIPPED
from ranksrgan.srgan.training.state import DISCRIMINATOR_FILE, GENERATOR_FILE

GENERATORS, IMAGES, MODELS, RANKERS = "generators", "images", "models", "rankers"
KERNELS = "kernels"
#: What the Ranker's training leaves in its folder.
RANKER_FILE = "ranker.safetensors"


class Names(NamedTuple):
    """Where names are looked up.

    Attributes:
        root: of the server's data.
        rankers: the operator's: specs for `open_scorer`, by the names that clients use.
    """

    root: DataRoot
    rankers: Mapping[str, str]


def read_config(
    config: Mapping[str, Any], root: DataRoot, rankers: Mapping[str, str]
) -> TrainConfig:
    """A client's configuration with names looked up.

    Args:
        config: as the client sent it; JSON.
        root, rankers: see `Names`.

    Raises:
        InvalidInput: a name that a client may not use, or a folder without an image; ``field``
            is the key.
        InvalidConfig: what `TrainConfig` refuses, and a training without images.
        UnknownName: there is nothing of that name.
    """
    names = Names(root, rankers)
    content = {key: _looked_up(value, key, key, names) for key, value in config.items()}
    found = make_config(TrainConfig, content, "config")
    if found.data.hr is None:
        raise InvalidInput(f"data.hr: {IMAGES}/NAME is wanted, to learn from", field="data.hr")
    return found


def used_rankers(config: Mapping[str, Any], rankers: Mapping[str, str]) -> dict[str, str]:
    """Those of the operator's Rankers that a configuration may name."""
    texts = set(_texts(config))
    return {name: spec for name, spec in rankers.items() if name in texts}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(part)


def free_text_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The keys of a configuration whose values may hold any text; those of lists without index."""
    for name, field in model.model_fields.items():
        for kind in _kinds(field.annotation):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from free_text_keys(kind, f"{prefix}{name}.")
            elif kind not in (int, float, bool, NoneType):
                yield f"{prefix}{name}"


def _kinds(annotation: Any) -> Iterator[Any]:
    """The classes that an annotation is made of; the few texts of a Literal are no free text."""
    if get_origin(annotation) is Literal:
        return
    parts = get_args(annotation)
    if not parts:
        yield annotation
    for part in parts:
        if part is not ... and (isinstance(part, type) or get_origin(part)):
            yield from _kinds(part)


def _looked_up(value: Any, key: str, field: str, names: Names) -> Any:
    """A part of a configuration with its names replaced.

    Args:
        value: the part.
        key: where it is, dotted, without indices of lists.
        field: the same with them, for messages.
        names: where they are looked up.
    """
    if value is None or isinstance(value, int | float) or key in PLAIN:
        return value
    if isinstance(value, list):
        return [_looked_up(part, key, f"{field}.{i}", names) for i, part in enumerate(value)]
    if key in _FREE:
        if key not in NAMES or not isinstance(value, str):
            raise InvalidInput(f"{field}: not to be chosen by a client", field=field)
        return NAMES[key](value, field, names)
    if isinstance(value, dict):
        return {
            name: _looked_up(part, f"{key}.{name}", f"{field}.{name}", names)
            for name, part in value.items()
        }
    return value


def _images(name: str, field: str, names: Names) -> str:
    folder = names.root.find(name, IMAGES, field)
    if not folder.is_dir() or not any(folder.iterdir()):
        raise InvalidInput(f"{field}: {name} holds no image", field=field)
    return str(folder)


def _kernels(name: str, field: str, names: Names) -> str:
    return str(names.root.find(name, KERNELS, field))


def _generator(name: str, field: str, names: Names) -> str:
    if name in SHIPPED.names:
        return name
    return _weights(name, field, names, GENERATOR_FILE, f", nor {', '.join(SHIPPED.names)}")


def _discriminator(name: str, field: str, names: Names) -> str:
    return _weights(name, field, names, DISCRIMINATOR_FILE)


def _weights(name: str, field: str, names: Names, inside: str, others: str = "") -> str:
    if name.partition("/")[0] == GENERATORS:
        return str(names.root.find_weights(name, GENERATORS, field, inside=inside))
    if name.partition("/")[0] == MODELS:
        return str(names.root.find_weights(name, MODELS, field))
    raise InvalidInput(
        f"{field}: {name[:120]!r} is not of the form {GENERATORS}/NAME or {MODELS}/NAME{others}",
        field=field,
    )


def _features(spec: str, field: str, names: Names) -> str:
    name, question, options = spec.partition("?")
    if spec in ASSETS:
        return spec
    if name.partition("/")[0] == RANKERS:
        return _trained_ranker(spec, field, names)
    if name.partition("/")[0] == MODELS:
        return f"{names.root.find_weights(name, MODELS, field)}{question}{options}"
    raise InvalidInput(
        f"{field}: {spec[:120]!r} is neither an asset's name, such as vgg19, nor {MODELS}/NAME or "
        f"{RANKERS}/NAME",
        field=field,
    )


def _ranker(spec: str, field: str, names: Names) -> str:
    if spec in names.rankers:
        return names.rankers[spec]
    if spec.partition("/")[0] == RANKERS:
        return _trained_ranker(spec, field, names)
    if _names_shipped_ranker(spec):
        return spec
    named = "".join(f", {name}" for name in dict.fromkeys((*SHIPPED_RANKERS, *names.rankers)))
    raise InvalidInput(
        f"{field}: {spec[:120]!r} is not known here; possible are {RANKERS}/NAME{named}",
        field=field,
    )


def _names_shipped_ranker(spec: str) -> bool:
    """Not so a sum with one: what is added could be a path."""
    return spec.partition("?")[0] in SHIPPED_RANKERS and not is_sum(spec)


def _trained_ranker(spec: str, field: str, names: Names) -> str:
    name, question, options = spec.partition("?")
    path = names.root.find_weights(name, RANKERS, field, inside=RANKER_FILE)
    return f"{path}{question}{options}"


def _scorer(spec: str, field: str, names: Names) -> str:
    named = spec in names.rankers or spec.partition("/")[0] == RANKERS
    ranker = named or _names_shipped_ranker(spec)
    return (_ranker if ranker else _metric)(spec, field, names)


def _metric(spec: str, field: str, names: Names) -> str:
    try:
        open_name(spec)
    except (UnknownName, InvalidInput) as error:
        raise type(error)(f"{field}: {error.message}", field=field) from error
    return spec


#: How the names at these keys are looked up.
NAMES: dict[str, Callable[[str, str, Names], str]] = {
    "data.hr": _images,
    "data.lr": _images,
    "data.degradation.noise": _images,
    "data.degradation.kernels": _kernels,
    "validation.hr": _images,
    "validation.lr": _images,
    "generator.weights": _generator,
    "generator.trunk_weights": _generator,
    "discriminator.weights": _discriminator,
    "losses.perceptual.network": _features,
    "losses.rank.rankers.spec": _ranker,
    "losses.scorers.spec": _scorer,
    "validation.scorers": _metric,
    "validation.if_available": _metric,
}
#: Keys of free text that is never opened: a device, names of layers and of columns.
PLAIN = frozenset(
    {"run.device", "losses.perceptual.layers", "validation.best"}
    | {"validation.drift.optimised", "validation.drift.held_out"}
)
_FREE = frozenset(free_text_keys(TrainConfig))
