"""Doing one unit, in a process of its own.

Each kind is a call of the public function of the package that it belongs to. A unit that was
stopped or killed goes on where it stood when it is called again.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from ranksrgan.contracts import (
    Scorer,
    atomic,
    console,
    open_pair_source,
    open_scorer,
    open_upscaler,
)
from ranksrgan.contracts.assets import get_asset, present
from ranksrgan.contracts.enlarged import enlarge
from ranksrgan.contracts.errors import ImageTooSmall, InvalidInput, UndefinedScore
from ranksrgan.contracts.images import from_tensor, list_images, write_image
from ranksrgan.contracts.provenance import run_record
from ranksrgan.metrics.catalog import assets_of
from ranksrgan.pipeline.reproduction.plan import DATASET, IMAGES, SR_SCALE
from ranksrgan.pipeline.reproduction.units import DONE_FILE, UNIT_FILE, Kind, resolved
from ranksrgan.rankdata import BuildConfig, build
from ranksrgan.rankdata.degradation import Source, read_source
from ranksrgan.ranker import RankEvaluation, predict
from ranksrgan.ranker import TrainConfig as RankerConfig
from ranksrgan.ranker import train as train_ranker
from ranksrgan.srgan import TrainConfig as GeneratorConfig
from ranksrgan.srgan import evaluate
from ranksrgan.srgan import train as train_generator

#: The exit code of a training that was told to stop and has saved its state.
STOPPED = 75

#: Further metrics of every evaluation, by the name that their values have.
FURTHER = {"lpips": "lpips?border=4", "fused": "niqe?border=4+0.4*rmse?border=4"}

PICTURES = "pictures"

#: What a training goes on from: three times its weights, and of no use when it is finished.
STATE_FILE = "last.state.pt"


def in_process(
    folder: Path,
    data: Path,
    log: Path,
    *,
    workers: int,
    threads: int,
    environment: Mapping[str, str],
) -> None:
    """`do_unit` as the main function of a process, which ends with its exit code.

    Ctrl-C is for the parent, which stops its processes in order; if the parent dies, this one
    stops as if it had been told to.

    Args:
        folder: of the unit.
        data: see `do_unit`.
        log: takes everything that is printed.
        workers: see `do_unit`.
        threads: of torch.
        environment: what the work is to find there.
    """
    os.setsid()
    with log.open("ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.environ.update(environment)
    torch.set_num_threads(threads)
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    sys.exit(console.run(lambda: do_unit(folder, data, workers)))


def _stop_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def do_unit(folder: Path, data: Path, workers: int = 1) -> int:
    """Do the unit of a folder, or go on with it, and write what it found.

    Returns:
        0, or `STOPPED` where a signal stopped a training.

    Raises:
        RankSRGANError: whatever the work raises; what was finished stays.
    """
    about = json.loads((folder / UNIT_FILE).read_text(encoding="utf-8"))
    config = resolved(about["config"], data, folder.parent)
    began = time.perf_counter()
    try:
        result = _WORK[about["kind"]](config, folder, workers)
    except KeyboardInterrupt:
        return STOPPED
    done = {"result": result, "seconds": time.perf_counter() - began, "run": run_record()}
    atomic.write_text(folder / DONE_FILE, json.dumps(done, indent=1) + "\n")
    (folder / STATE_FILE).unlink(missing_ok=True)
    return 0


def _images(config: Mapping[str, Any], folder: Path, workers: int) -> dict[str, Any]:
    """One folder with links to the images of all; see `link_images`."""
    link_images([Path(place) for place in config["folders"]], folder / IMAGES)
    return {}


def link_images(places: Sequence[Path], folder: Path) -> None:
    """Have links in one folder lead to the images of several, wherever they led before.

    Raises:
        InvalidInput: two folders have an image of the same name; names both.
    """
    found: dict[str, Path] = {}
    for place in places:
        for path in list_images(place):
            if path.name in found:
                raise InvalidInput(
                    f"training: {found[path.name]} and {path} have one name, and one of them would "
                    "be lost: rename it",
                    field="training",
                )
            found[path.name] = path
            link(folder / path.name, path)


def link(path: Path, target: Path) -> None:
    """Have a link lead to a file; one that does is left alone, since others may be reading it."""
    target = target.resolve()
    if path.is_symlink() and path.readlink() == target:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def _generator(config: Mapping[str, Any], folder: Path, workers: int) -> dict[str, Any]:
    result = train_generator(GeneratorConfig.model_validate(config), folder)
    if not result.finished:
        raise KeyboardInterrupt  # a signal stopped the training, which has saved its state
    return {"step": result.step, "scores": result.scores}


def _rank_data(config: Mapping[str, Any], folder: Path, workers: int) -> dict[str, Any]:
    wanted = BuildConfig.model_validate({**config, "output": folder / DATASET})
    several = workers > 1
    summary = build(
        wanted,
        executor="processes" if several else "local",
        workers=workers if several else None,
    )
    return {"levels": summary.levels, "sources": summary.sources, "crops": summary.crops}


def _ranker(config: Mapping[str, Any], folder: Path, workers: int) -> dict[str, Any]:
    data = config["data"]
    result = train_ranker(
        RankerConfig.model_validate(config["training"]),
        open_pair_source(data, split="train"),
        open_pair_source(data, split="val"),
        folder,
    )
    return {"step": result.step, "best_step": result.best_step}


def _judgement(config: Mapping[str, Any], folder: Path, workers: int) -> dict[str, Any]:
    """How well a Ranker orders held-out images, and its score of each beside the metric's."""
    source = open_pair_source(config["data"])
    predictions = predict({"ranker": open_scorer(config["ranker"], pinned=True)}, source)["ranker"]
    return {
        "metric": predictions.metric,
        "levels": list(predictions.levels),
        "evaluation": asdict(RankEvaluation.of(predictions)),
        "truth": _rows(predictions.truth),
        "predicted": _rows(predictions.predicted),
    }


def _evaluation(config: Mapping[str, Any], folder: Path, workers: int) -> dict[str, Any]:
    """Scores of every image of every test set, and some pictures."""
    further = {
        name: open_scorer(spec)
        for name, spec in FURTHER.items()
        if all(present(get_asset(asset)) for asset in assets_of(spec.split("?")[0]))
    }
    judges = {name: open_scorer(spec, pinned=True) for name, spec in config["judges"].items()}
    scorers = {**further, **judges}
    found = {}
    for test_set, place in config["sets"].items():
        kept = {
            path.stem: read_source(path, SR_SCALE)
            for path in list_images(Path(place))
            if path.stem in config["pictures"].get(test_set, ())
        }
        if config["upscaler"] is None:
            found[test_set] = _originals(Path(place), scorers)
            pictures = {name: source.hr[0] for name, source in kept.items()}
        else:
            found[test_set], pictures = _enlarged(config["upscaler"], Path(place), scorers, kept)
        for name, picture in pictures.items():
            write_image(folder / PICTURES / test_set / f"{name}.png", from_tensor(picture))
    return {"sets": found}


def _enlarged(
    spec: str, place: Path, scorers: Mapping[str, Scorer], kept: Mapping[str, Source]
) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
    upscaler = open_upscaler(spec, pinned=True)
    scores = evaluate(upscaler, place, SR_SCALE, SR_SCALE, scorers).images
    pictures = {name: enlarge(upscaler, source.lr, name)[0].cpu() for name, source in kept.items()}
    return [{"image": Path(row.image).stem, "scores": row.scores} for row in scores], pictures


def _originals(place: Path, scorers: Mapping[str, Scorer]) -> list[dict[str, Any]]:
    """What metrics without a reference say of the originals."""
    alone = {"niqe": open_scorer(f"niqe?border={SR_SCALE}")} | {
        name: scorer for name, scorer in scorers.items() if not scorer.info.needs_reference
    }
    rows = []
    for path in list_images(place):
        source = read_source(path, SR_SCALE)
        scores = {name: _score(scorer, source.hr) for name, scorer in alone.items()}
        rows.append({"image": source.name, "scores": scores})
    return rows


def _score(scorer: Scorer, image: torch.Tensor) -> float | None:
    try:
        with torch.no_grad():
            return float(scorer.score(image))
    except (ImageTooSmall, UndefinedScore):
        return None


def _step_time(config: Mapping[str, Any], folder: Path, workers: int) -> dict[str, Any]:
    """Median seconds of a step of each training, which take turns so that drifts cancel out."""
    seconds: dict[str, list[float]] = {name: [] for name in config["trainings"]}
    for number in range(config["rounds"]):
        for name, training in config["trainings"].items():
            steps = {**training["run"], "steps": config["steps"]}
            wanted = GeneratorConfig.model_validate({**training, "run": steps})
            seconds[name].append(_median_step(wanted, folder / f"{number}-{name}"))
    return {"seconds": seconds, "control": config["control"], "device": _device()}


def _median_step(config: GeneratorConfig, folder: Path) -> float:
    ends: list[float] = []

    def note(step: int, losses: Mapping[str, float]) -> None:
        ends.append(time.perf_counter())

    if not train_generator(config, folder, resume=False, on_step=note).finished:
        raise KeyboardInterrupt
    later = ends[len(ends) // 4 :]  # the first steps choose kernels and fill caches
    return statistics.median(end - start for start, end in pairwise(later))


def _device() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"


def _rows(values: torch.Tensor) -> list[list[float | None]]:
    return [[None if value != value else value for value in row] for row in values.tolist()]


_WORK: dict[Kind, Callable[[Mapping[str, Any], Path, int], dict[str, Any]]] = {
    "images": _images,
    "generator": _generator,
    "rank_data": _rank_data,
    "ranker": _ranker,
    "judgement": _judgement,
    "evaluation": _evaluation,
    "step_time": _step_time,
}
