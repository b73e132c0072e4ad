"""Which dataset a build makes, and what is another about one that is there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from ranksrgan.contracts import ScorerInfo, provenance
from ranksrgan.contracts.some_names import some_names
from ranksrgan.rankdata.building.source import SourceWork
from ranksrgan.rankdata.dataset import RankDataset
from ranksrgan.rankdata.folder import first_difference
from ranksrgan.rankdata.manifest import Record, scorer_facts
from ranksrgan.rankdata.places import respelled


def models_of(work: SourceWork) -> dict[str, Any]:
    """What is known of everything that makes and orders versions, as `settings_of` has it."""
    settings = settings_of(work)
    return {key: settings[key] for key in ("levels", "metric", "further")}


def settings_of(work: SourceWork) -> dict[str, Any]:
    """What decides a dataset besides the images, as JSON values; the place of the output does not.

    Python itself is left out: no number depends on its version.
    """
    return _settings(
        work.config.model_dump(mode="json"),
        {name: [level.kind, level.facts] for name, level in work.levels.items()},
        work.labels.info,
        [scorer.info for scorer in work.labels.further],
        provenance.versions(),
    )


def identity_of(settings: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """sha256 in hex of settings and of the input files of every source."""
    text = json.dumps([settings, sorted(inputs.items())], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def difference_of(dataset: RankDataset, work: SourceWork) -> str | None:
    """What another dataset ``work`` would make; None if it is the one that is there.

    Where images and weights lie does not count, their contents do: every image is read.

    Args:
        dataset: that is there, built with the keys of the configuration that there are today.
        work: what would be done now.
    """
    there = _settings_of_record(dataset.record)
    now = respelled(json.loads(json.dumps(settings_of(work))), there)
    for name, (_, facts) in now["levels"].items():
        _, before = there["levels"].get(name, ("", {}))
        if facts.get("parameters_hash") != before.get("parameters_hash"):
            spec = work.config.levels[name]
            return f"level {name}: other weights than {spec} holds now"
    if json.dumps(there) != json.dumps(now):
        return first_difference(there, now)
    inputs = {name: work.inputs(name) for name in work.paths}
    if dataset.record.identity != identity_of(there, inputs):
        return f"other images: {_other_images(dataset, work)}"
    return None


def _settings_of_record(record: Record) -> dict[str, Any]:
    """The settings that made a dataset, as `settings_of` gave them then."""
    return _settings(
        record.config,
        {level.name: [level.kind, level.facts] for level in record.levels},
        record.metric,
        record.further,
        record.run.get("versions", {}),
    )


def _settings(
    config: Mapping[str, Any],
    levels: Mapping[str, Any],
    metric: ScorerInfo,
    further: Iterable[ScorerInfo],
    versions: Mapping[str, str],
) -> dict[str, Any]:
    chosen = {key: value for key, value in config.items() if key != "output"}
    return {
        "config": chosen | {"levels": [list(level) for level in chosen["levels"].items()]},
        "levels": levels,
        "metric": scorer_facts(metric),
        "further": [scorer_facts(info) for info in further],
        "versions": {name: v for name, v in versions.items() if name != "python"},
    }


def _other_images(dataset: RankDataset, work: SourceWork) -> str:
    hr = work.config.hr
    gone = sorted({content.source for content in dataset.contents} - work.paths.keys())
    if gone:
        return f"{some_names(gone)} not among those of {hr} now"
    count = dataset.record.counts.sources
    if count != len(work.paths):
        return f"{count} there, {len(work.paths)} of {hr} now"
    return f"in {hr}, or in a level's folder, one has another content now"
