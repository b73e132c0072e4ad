"""Quality models and metrics against simulated opinions, on references that no model has seen.

The photographs, distortions and votes are those of ``judged_photographs.py``; each model learns
from one part of the references, is chosen by another, and is judged on a third together with the
metrics: SRCC, PLCC after a cubic fit, and their sum, NTIRE's main score.

    RANKSRGAN_ASSETS=weights python benchmarks/quality_models.py --photographs bsds500_train \\
        --network imdn=FILE --network srgan=FILE --network fast=FILE --out OUT \\
        --model sensitivity --model wresnet --minutes 15

``--minutes`` is for each model; on a CPU it is the processor's time over the number of threads, so
that it means the same on a busy machine. Everything goes on where an earlier run stopped;
``--width full`` is for a GPU. Figures go to ``OUT/figures.csv`` as well, with those of models
trained before.
"""

from __future__ import annotations

import argparse
import csv
import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from judged_photographs import judged_photographs

from ranksrgan.contracts import atomic
from ranksrgan.contracts.assets import find_asset
from ranksrgan.contracts.config import read_yaml
from ranksrgan.contracts.device import choose_device
from ranksrgan.contracts.discovery import open_pair_source, open_scorer
from ranksrgan.contracts.errors import MissingAsset
from ranksrgan.contracts.pairs import PairSource
from ranksrgan.contracts.scorer import Scorer
from ranksrgan.metrics.protocol import Agreement, agreement
from ranksrgan.ranker.quality.boosted_training import BOOSTED, load_boosted_recipe, train_boosted
from ranksrgan.ranker.quality.config import QualityConfig, load_quality_recipe
from ranksrgan.ranker.quality.models import MODELS
from ranksrgan.ranker.quality.opinions import Opinions
from ranksrgan.ranker.quality.run import WEIGHTS_FILE
from ranksrgan.ranker.quality.train import train_quality

BASELINES = ("psnr", "ssim", "ms_ssim", "fsim", "gmsd", "vif", "lpips", "dists", "niqe")

#: What a model is told at reduced width beside ``recipes/small.yaml``; at full width, its defaults.
REDUCED: dict[str, Sequence[str]] = {
    "egb": ("network=alexnet", "side=192"),
    "fusion": (),
    "iqma": ("options={backbone: alexnet, frozen: true, width: 64}", "crop=96"),
    "iqt": ("options={backbone: alexnet, crop: 96, width: 64, hidden: 256}", "crop=96"),
    "l2pips": ("options={backbone: alexnet}", "crop=96"),
    "macs": ("options={form: attention, width: 32, grid: 8}", "crop=96"),
    "pieapp": (
        "options={backbone: alexnet_blur, frozen: true, hidden: 128, patches: 2}",
        "crop=96",
    ),
    "radn": ("options={width: 8, patches: 4}", "references=8", "versions=2"),
    "sensitivity": ("options={width: 8}", "lr=3e-3"),
    "wresnet": ("options={width: 8, patches: 4}", "references=8", "versions=2"),
    "yahaha": ("options={backbone: alexnet, frozen: true, grid: 5}", "crop=96"),
}

#: At full width, of those whose own recognition network is not at hand.
FULL: dict[str, Sequence[str]] = {
    "egb": REDUCED["egb"],
    "fusion": REDUCED["fusion"],
    "iqma": ("options={backbone: alexnet}", "crop=96", "references=8"),
    "iqt": ("options={backbone: alexnet, crop: 96}", "crop=96", "references=8"),
    "l2pips": ("options={backbone: alexnet}", "crop=96", "references=8"),
    "pieapp": ("options={backbone: alexnet_blur}", "crop=96", "references=8"),
    "yahaha": ("options={backbone: alexnet}", "crop=96", "references=8"),
}

#: They look through AlexNet, with the published weights of the asset of that name.
ON_ALEXNET = frozenset({"egb", "iqma", "iqt", "l2pips", "pieapp", "yahaha"})

#: Steps that show how long one takes, before a training of some minutes begins.
TRIAL = 5
#: Validations of a training.
LOOKS = 5


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photographs", required=True, type=Path, metavar="DIR")
    parser.add_argument("--network", action="append", default=[], metavar="NAME=SPEC")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR")
    parser.add_argument("--references", type=int, default=200)
    parser.add_argument("--side", type=int, default=192)
    parser.add_argument("--votes", type=int, default=80, help="that each version takes part in")
    parser.add_argument("--model", action="append", dest="models", help="all by default")
    parser.add_argument("--minutes", type=float, default=15.0, help="of each training")
    parser.add_argument("--width", choices=("reduced", "full"), default="reduced")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--scorer", action="append", default=[], metavar="NAME=SPEC", help="more")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="of every training")
    given = parser.parse_args()
    dataset = judged_photographs(
        given.photographs,
        dict(network.split("=", 1) for network in given.network),
        given.out / "photographs",
        references=given.references,
        side=given.side,
        votes=given.votes,
    )
    judge = Opinions(open_pair_source(str(dataset), split="test"))
    print(f"{len(judge.every)} images of {len(judge.sets)} unseen references", flush=True)
    figures = given.out / "figures.csv"
    rows = _read(figures)
    for name in BASELINES:
        if name not in rows:
            _show(rows, figures, name, lambda name=name: open_scorer(name), judge)
    for name, spec in (scorer.split("=", 1) for scorer in given.scorer):
        _show(rows, figures, name, lambda spec=spec: open_scorer(spec), judge)
    for model in given.models or sorted([*MODELS, *BOOSTED]):
        folder = given.out / f"{model}-{given.width}"
        learn, validate = (open_pair_source(str(dataset), split=name) for name in ("train", "val"))
        began = _now(given.device)
        if model in BOOSTED:
            boosted = load_boosted_recipe(model, None, _own(model, given.width))
            train_boosted(boosted, learn, validate, folder)
            weights = str(folder / WEIGHTS_FILE)
            print(f"{model}: {(_now(given.device) - began) / 60:.1f} minutes", flush=True)
        else:
            config = _config(model, given.width, given.device, given.settings, folder)
            if config is None:
                overrides = _overrides(model, given.width, given.device, given.settings)
                config = _timed(model, overrides, [learn, validate], given.minutes, folder)
            began = _now(given.device)
            result = train_quality(config, learn, validate, folder)
            took = (_now(given.device) - began) / 60
            print(f"{model}: {result.step} steps, {took:.1f} minutes", flush=True)
            weights = f"{folder / WEIGHTS_FILE}?device={given.device}"
        label = model if given.width == "reduced" else f"{model} (full width)"
        _show(rows, figures, label, lambda weights=weights: open_scorer(weights), judge)
    print(_table(rows), end="")


def _overrides(model: str, width: str, device: str, settings: Sequence[str]) -> list[str]:
    return [*_own(model, width), f"device={device}", *settings]


def _own(model: str, width: str) -> list[str]:
    of_model = REDUCED.get(model, ())
    if width == "full":
        of_model = FULL.get(model, ("crop=96", "references=8"))
    published = [f"backbone={find_asset('alexnet')}"] if model in ON_ALEXNET else []
    return [*of_model, *published]


def _config(
    model: str, width: str, device: str, settings: Sequence[str], folder: Path
) -> QualityConfig | None:
    """Of a training that was begun; None if there is none."""
    path = folder / "config.yaml"
    if not path.is_file():
        return None
    steps = read_yaml(path)["steps"]
    overrides = [*_overrides(model, width, device, settings), *_looks(steps)]
    return load_quality_recipe(model, _recipe(width), overrides)


def _recipe(width: str) -> str | None:
    return "small" if width == "reduced" else None


def _looks(steps: int) -> list[str]:
    look = -(-steps // LOOKS)
    return [f"steps={steps}", f"validate_every={look}", f"save_every={look}", "log_every=10"]


def _timed(
    model: str,
    overrides: list[str],
    sources: Sequence[PairSource],
    minutes: float,
    folder: Path,
) -> QualityConfig:
    """As many steps as there is time for, validations included."""
    recipe = _recipe("reduced" if folder.name.endswith("-reduced") else "full")
    stamps: list[float] = []

    def note(step: int, loss: float) -> None:
        stamps.append(_now(config.device))

    trial = folder.with_name(f"{folder.name}-trial")
    config = load_quality_recipe(model, recipe, [*overrides, *_looks(TRIAL)])
    config = config.model_copy(update={"validate_every": TRIAL, "save_every": TRIAL})
    train_quality(config, sources[0], sources[1], trial, resume=False, on_step=note)
    a_step = (stamps[-2] - stamps[0]) / (len(stamps) - 2)
    a_look = stamps[-1] - stamps[-2] - a_step
    steps = max(LOOKS, int((60 * minutes - LOOKS * a_look) / a_step))
    print(f"{model}: {a_step:.3f} s a step, {a_look:.1f} s a validation, {steps} steps", flush=True)
    return load_quality_recipe(model, recipe, [*overrides, *_looks(steps)])


def _now(device: str) -> float:
    """Seconds; see the module's head."""
    if choose_device(device).type == "cuda":
        return time.perf_counter()
    return time.process_time() / torch.get_num_threads()


def _show(
    rows: dict[str, dict[str, Any]], path: Path, name: str, opened: Any, judge: Opinions
) -> None:
    """Judge a scorer and write all figures so far."""
    try:
        scorer: Scorer = opened()
        began = time.perf_counter()
        found = _agreement(scorer, judge)
    except MissingAsset as error:
        rows[name] = {"scorer": name, "note": f"not here: {error}".splitlines()[0][:60]}
    else:
        rows[name] = {
            "scorer": name,
            "srcc": f"{found.srcc:.4f}",
            "plcc": f"{found.plcc:.4f}",
            "main": f"{found.main:.4f}",
            "seconds": f"{time.perf_counter() - began:.0f}",
            "note": "" if found.inverse != scorer.info.higher_is_better else "runs the wrong way",
        }
    text = io.StringIO()
    columns = ("scorer", "srcc", "plcc", "main", "seconds", "note")
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows.values())
    atomic.write_text(path, text.getvalue())


def _agreement(scorer: Scorer, judge: Opinions) -> Agreement:
    scores = []
    with torch.inference_mode():
        for judged in judge.sets:
            against = judged.reference.expand_as(judged.images)
            needed = against if scorer.info.needs_reference else None
            scores += scorer.score(judged.images, needed).tolist()
    return agreement(scores, judge.every.tolist())


def _read(path: Path) -> dict[str, dict[str, Any]]:
    if not path.is_file():
        return {}
    with path.open(newline="") as file:
        return {row["scorer"]: dict(row) for row in csv.DictReader(file)}


def _table(rows: dict[str, dict[str, Any]]) -> str:
    ordered = sorted(rows.values(), key=lambda row: -float(row.get("main") or 0))
    lines = [f"{'':<24}{'SRCC':>8}{'PLCC':>8}{'main':>8}{'seconds':>9}  note"]
    for row in ordered:
        figures = [row.get(key) or "" for key in ("srcc", "plcc", "main", "seconds")]
        lines.append(
            f"{row['scorer']:<24}{figures[0]:>8}{figures[1]:>8}{figures[2]:>8}{figures[3]:>9}  "
            f"{row.get('note') or ''}".rstrip()
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
