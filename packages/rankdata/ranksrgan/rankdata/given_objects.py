"""Scorers and upscalers that a build is given as objects, in place of what its configuration names.

No file can hold them. So what is written says which they were, and a build from it asks for them
instead of making another dataset from the names.
"""

from __future__ import annotations

from collections.abc import Mapping

from ranksrgan.contracts import Scorer, Upscaler
from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.rankdata.config import METRIC, BuildConfig, level_key


def with_objects(
    config: BuildConfig,
    scorer: Scorer | None = None,
    upscalers: Mapping[str, Upscaler] | None = None,
) -> BuildConfig:
    """The configuration that is built and written: the name of the scorer that is given is its
    metric, and ``given`` lists the keys that objects stand for.

    Args:
        config: as somebody has it, perhaps from the folder of a dataset.
        scorer: that is given.
        upscalers: that are given, by level name.

    Raises:
        InvalidConfig: it is that of a dataset with objects which are not given now, or whose scorer
            has another name; the message says which are wanted.
    """
    names = [name for name in config.levels if name in (upscalers or {})]
    given = (*([METRIC] if scorer is not None else []), *map(level_key, names))
    missing = [key for key in config.given if key not in given]
    if missing:
        raise InvalidConfig(_wanted(config, missing), field="given")
    if scorer is None:
        return config.model_copy(update={"given": given})
    if METRIC in config.given and scorer.info.name != config.metric:
        raise InvalidConfig(
            f"metric: {scorer.info.name} is given; this dataset was labelled by a scorer "
            f"{config.metric}, which was given too",
            field=METRIC,
        )
    return config.model_copy(update={"given": given, "metric": scorer.info.name})


def _wanted(config: BuildConfig, missing: list[str]) -> str:
    levels = [name for name in config.levels if level_key(name) in missing]
    objects = []
    if METRIC in missing:
        objects.append(f"scorer=..., the scorer {config.metric}")
    if levels:
        upscalers = ", ".join(f"{name!r}: ..." for name in levels)
        objects.append(f"upscalers={{{upscalers}}}, the upscalers of these levels")
    return (
        f"given: {', '.join(missing)}: this dataset was built with objects, which no file can "
        f"hold; give build() {' and '.join(objects)}. Or name others in metric and levels, and "
        "leave out given"
    )
