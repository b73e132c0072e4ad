"""What a client of the service may ask for, and the configuration of a build that it stands for.

A client's configuration has the keys of `BuildConfig` but ``output``; its levels are a list of
``NAME=SPEC``, since their order counts and a ``google.protobuf.Struct`` keeps none. What is a path
or a spec there is a name here:

    hr                     images/NAME
    levels                 what a dataset makes itself (``level_specs``), images/NAME with finished
                           results, models/NAME with or without a suffix, generators/NAME, which
                           the generators' service has trained in this root, a shipped generator by
                           its name, or an upscaler that the operator has given a name
    metric, further        metrics by name, with options, and weighted sums of them

So nothing that a client sends is ever opened as a path or an address.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ranksrgan.contracts.config import make_config
from ranksrgan.contracts.data_root import DataRoot
from ranksrgan.contracts.errors import InvalidConfig, InvalidInput, UnknownName
from ranksrgan.contracts.shipped import GENERATORS as SHIPPED_GENERATORS
from ranksrgan.metrics.catalog import open_name
from ranksrgan.rankdata.config import WHOLE, BuildConfig
from ranksrgan.rankdata.labels import Labels
from ranksrgan.rankdata.level_specs import BICUBIC, HR, distortion, interpolation

IMAGES, MODELS, GENERATORS = "images", "models", "generators"
#: What a generator's training leaves in its folder.
GENERATOR_FILE = "generator.safetensors"

#: Keys whose values are neither a path nor the name of something that is opened.
PLAIN_KEYS = frozenset(
    {"label", "scale", "crop", "stride", "last_offset", "sources", "min_sharpness", "sharpness_of"}
    | {"min_gap", "min_gap_levels", "max_crops", "val", "test", "seed"}
)
_KEYS = PLAIN_KEYS | {"hr", "levels", "metric", "further"}
# Larger crops cost a metric seconds; whether it takes them, the build finds out.
_TRIED = 512


def read_config(
    config: Mapping[str, Any], root: DataRoot, upscalers: Mapping[str, str], output: Path
) -> BuildConfig:
    """A client's configuration with names looked up.

    Args:
        config: as the client sent it; JSON.
        root: where names are looked up.
        upscalers: the operator's: specs for `open_upscaler`, by the names that clients use.
        output: of the dataset.

    Raises:
        InvalidInput: a name or spec that a client may not use; ``field`` says where.
        InvalidConfig: what `BuildConfig` refuses.
        UnknownName: there is nothing of that name in the root.
    """
    hidden = sorted((set(config) & set(BuildConfig.model_fields)) - _KEYS)
    if hidden:
        raise InvalidInput(f"{hidden[0]}: not to be chosen by a client", field=hidden[0])
    found = dict(config)
    if "hr" in found:
        found["hr"] = root.find(_text(found["hr"], "hr"), IMAGES, "hr")
    if "levels" in found:
        found["levels"] = {
            name: _level(name, spec, root, upscalers)
            for name, spec in _levels(found["levels"]).items()
        }
    return make_config(BuildConfig, {**found, "output": output}, "config")


def check_metrics(config: BuildConfig) -> None:
    """Open the metrics, to hear now what is wrong with them.

    Raises:
        UnknownName: not the name of a metric.
        InvalidInput: a wrong option; ``field`` says which metric.
        InvalidConfig, ImageTooSmall: see `Labels.open`; the crops are too small for a metric.
        MissingAsset: the server lacks a metric's parameters.
    """
    names = {f"further.{index}": name for index, name in enumerate(config.further)}
    if config.label == "metric":
        names = {"metric": config.metric, **names}
    for field, name in names.items():
        try:
            open_name(name)
        except (UnknownName, InvalidInput) as error:
            raise type(error)(f"{field}: {error.message}", field=field) from error
    labels = Labels.open(config)
    labels.check_parameters()
    if config.crop != WHOLE and config.crop <= _TRIED:
        labels.check_crop(config.crop)


def _levels(levels: object) -> dict[str, str]:
    if not isinstance(levels, list):
        raise InvalidConfig(
            "levels: a list of NAME=SPEC is wanted here, from first to last", field="levels"
        )
    specs: dict[str, str] = {}
    for level in levels:
        name, separator, spec = _text(level, "levels").partition("=")
        if not separator:
            raise InvalidConfig(f"levels: {name[:120]!r} is not NAME=SPEC", field="levels")
        if name in specs:
            raise InvalidConfig(f"levels: {name} is given twice", field="levels")
        specs[name] = spec
    return specs


def _level(name: str, spec: str, root: DataRoot, upscalers: Mapping[str, str]) -> str:
    field = f"levels.{name}"
    if _made_by_the_dataset(spec):
        return spec
    if spec in upscalers:
        return upscalers[spec]
    if spec in SHIPPED_GENERATORS:
        return spec
    kind = spec.partition("/")[0]
    if kind == IMAGES:
        return str(root.find(spec, IMAGES, field))
    if kind == MODELS:
        return str(root.find_weights(spec, MODELS, field))
    if kind == GENERATORS:
        return str(root.find_weights(spec, GENERATORS, field, inside=GENERATOR_FILE))
    names = "".join(
        f", {upscaler}" for upscaler in dict.fromkeys((*SHIPPED_GENERATORS, *upscalers))
    )
    raise InvalidInput(
        f"{field}: {spec[:120]!r} is not known here; possible are {HR}, {BICUBIC}, "
        f"interpolate:NAME:LAMBDA, blur:WIDTH, noise:SIGMA, jpeg:QUALITY, {IMAGES}/NAME, "
        f"{MODELS}/NAME, {GENERATORS}/NAME{names}",
        field=field,
    )


def _made_by_the_dataset(spec: str) -> bool:
    try:
        return spec in (HR, BICUBIC) or bool(interpolation(spec) or distortion(spec))
    except ValueError:
        return True  # of that kind, and wrong; `BuildConfig` says how


def _text(value: object, field: str) -> str:
    if not isinstance(value, str):
        raise InvalidConfig(f"{field}: a text is wanted, not {value!r:.120}", field=field)
    return value
