"""Quality models and metrics against simulated opinions, on references that no model has seen.

The photographs, distortions and votes are those of ``judged_photographs.py``; each model learns
from one part of the references, is chosen by another, and is judged on a third together with the
metrics: SRCC, PLCC after a cubic fit, and their sum, NTIRE's main score.

    RANKSRGAN_ASSETS=weights python benchmarks/quality_models.py --photographs bsds500_train \\
        --network imdn=FILE --network srgan=FILE --network fast=FILE --out OUT --minutes 5

``--minutes`` is for each model; on a CPU it is the processor's time over the number of threads, so
that it means the same on a busy machine. What ``OUT/figures`` holds is not done again: a stopped
run goes on, within a training too, and two runs may share the models among them (``--model``).
Delete ``OUT/figures/NAME.json`` and ``OUT/NAME-reduced`` to begin a model anew. ``--width full`` is
for a GPU. The table goes to ``OUT/table.txt`` as well.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from judged_photographs import DESCRIPTION, judged_photographs

from ranksrgan.contracts import atomic
from ranksrgan.contracts.assets import find_asset
from ranksrgan.contracts.checkpoint import load_weights
from ranksrgan.contracts.device import choose_device
from ranksrgan.contracts.discovery import open_pair_source, open_scorer
from ranksrgan.contracts.errors import MissingAsset
from ranksrgan.contracts.pairs import PairSource
from ranksrgan.contracts.scorer import Scorer
from ranksrgan.contracts.yaml_text import read_yaml
from ranksrgan.metrics.protocol import Agreement, agreement
from ranksrgan.ranker.quality.boosted_training import BOOSTED, load_boosted_recipe, train_boosted
from ranksrgan.ranker.quality.config import QualityConfig, load_quality_recipe
from ranksrgan.ranker.quality.models import MODELS
from ranksrgan.ranker.quality.opinions import Opinions
from ranksrgan.ranker.quality.run import WEIGHTS_FILE
from ranksrgan.ranker.quality.train import train_quality

#: ``ranker-niqe`` is the Ranker that is shipped.
BASELINES = (
    *("psnr", "ssim", "ms_ssim", "fsim", "gmsd", "vif", "lpips", "dists"),
    *("niqe", "ranker-niqe"),
)
#: What every model has to be better than.
TO_BEAT = ("psnr", "ssim")

#: What a model is told at reduced width beside ``recipes/small.yaml``; at full width, its defaults.
REDUCED: dict[str, Sequence[str]] = {
    "egb": ("network=alexnet", "side=192"),
    # Of the published metrics those that take less than a twentieth of a second an image.
    "fusion": ("metrics=[psnr, ssim, ms_ssim, gmsd, fsim, vifp]",),
    "iqma": ("options={backbone: alexnet, frozen: true, width: 64}", "crop=96"),
    "iqt": ("options={backbone: alexnet, crop: 96, width: 64, hidden: 256}", "crop=96"),
    "l2pips": ("options={backbone: alexnet}", "crop=96"),
    "macs": ("options={form: attention, width: 32, grid: 8}", "precision=bfloat16"),
    "pieapp": (
        "options={backbone: alexnet_blur, frozen: true, hidden: 128, patches: 2}",
        "crop=96",
    ),
    "radn": (
        "options={width: 8, patches: 2, dropout: 0.1}",
        "lr=3e-4",
        "precision=bfloat16",
    ),
    "sensitivity": ("options={width: 8}", "lr=3e-3", "precision=bfloat16"),
    "wresnet": ("options={width: 8, patches: 2, dropout: 0.1}", "precision=bfloat16"),
    "yahaha": ("options={backbone: alexnet, frozen: true, grid: 5}", "crop=96"),
}

#: At full width, of those whose own recognition network is not at hand.
FULL: dict[str, Sequence[str]] = {
    "egb": REDUCED["egb"],
    "fusion": (),
    "iqma": ("options={backbone: alexnet}", "crop=96", "references=8"),
    "iqt": ("options={backbone: alexnet, crop: 96}", "crop=96", "references=8"),
    "l2pips": ("options={backbone: alexnet}", "crop=96", "references=8"),
    "pieapp": ("options={backbone: alexnet_blur}", "crop=96", "references=8"),
    "yahaha": ("options={backbone: alexnet}", "crop=96", "references=8"),
}

#: They look through AlexNet, with the published weights of the asset of that name.
ON_ALEXNET = frozenset({"egb", "iqma", "iqt", "l2pips", "pieapp", "yahaha"})

#: A model that starts from the weights of another one, which is trained before it.
STARTS_FROM = {"radn": "wresnet"}

#: Of the table, with the form of their figures.
COLUMNS = {
    "srcc": ".4f",
    "plcc": ".4f",
    "main": ".4f",
    "seconds": ".0f",
    "steps": ",",
    "minutes": ".1f",
    "numbers": ",",
}

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
    learn, validate, unseen = (
        open_pair_source(str(dataset), split=name) for name in ("train", "val", "test")
    )
    judge = Opinions(unseen)
    figures = given.out / "figures"
    models = given.models or sorted([*MODELS, *BOOSTED])
    for model in sorted(models, key=lambda name: (name in STARTS_FROM, name)):
        label = model if given.width == "reduced" else f"{model} (full width)"
        if _done(figures, label):
            continue
        bench = Training(model, given)
        facts = bench.train([learn, validate])
        _show(figures, label, lambda bench=bench: open_scorer(bench.weights), judge, facts)
    scorers = {name: name for name in BASELINES}
    scorers |= dict(scorer.split("=", 1) for scorer in given.scorer)
    for name, spec in scorers.items():
        if not _done(figures, name):
            _show(figures, name, lambda spec=spec: open_scorer(spec), judge, {})
    networks = [network.partition("=")[0] for network in given.network]
    versions = sorted({len(judged.images) for judged in judge.sets})
    head = (
        f"{DESCRIPTION}\n\n"
        f"Photographs of {given.photographs.absolute().name}; "
        f"networks: {', '.join(networks) or 'none'}; "
        f"{' or '.join(map(str, versions))} versions of each reference.\n"
        f"{learn.info.contents} references to learn from, {validate.info.contents} to choose the "
        f"weights by, and {len(judge.sets)} unseen ones, whose {len(judge.every)} images give the\n"
        f"figures. Up to {given.minutes:g} minutes of training for each model; torch "
        f"{torch.__version__}, {torch.get_num_threads()} thread(s).\n"
        f"{_command_line(sys.argv)}\n"
    )
    table = f"{head}\n{_table(_read(figures))}"
    atomic.write_text(given.out / "table.txt", table)
    print(table, end="")


def _command_line(arguments: Sequence[str]) -> str:
    """As it was given, of files and folders their names alone."""
    shown = []
    for argument in arguments:
        key, equals, value = argument.rpartition("=")
        shown.append(f"{key}{equals}{Path(value).name if '/' in value else value}")
    return shlex.join(shown)


class Training:
    """Of one model, in a folder of its own.

    Args:
        model: its name.
        given: the command line.
    """

    def __init__(self, model: str, given: argparse.Namespace) -> None:
        self._model, self._given = model, given
        self._folder = given.out / f"{model}-{given.width}"
        self._recipe = "small" if given.width == "reduced" else None
        self._own = list(_own(model, given.width))
        if model in STARTS_FROM:
            start = given.out / f"{STARTS_FROM[model]}-{given.width}" / WEIGHTS_FILE
            if not start.is_file():
                raise SystemExit(f"{model} starts from {start}: train {STARTS_FROM[model]} first")
            self._own.append(f"start={start}")
        self.weights = str(self._folder / WEIGHTS_FILE)
        if model not in BOOSTED:
            self.weights += f"?device={given.device}"

    def train(self, sources: Sequence[PairSource]) -> dict[str, Any]:
        """Train it, or go on; what the table says of it."""
        if self._model in BOOSTED:
            began = _now(self._given.device)
            boosted = load_boosted_recipe(self._model, None, self._own)
            train_boosted(boosted, sources[0], sources[1], self._folder)
            steps = None
        else:
            config = self._begun() or self._timed(sources)
            began = _now(self._given.device)
            try:
                steps = train_quality(config, sources[0], sources[1], self._folder).step
            finally:
                self._note(began)
        if self._model in BOOSTED:
            self._note(began)
        tensors = load_weights(self._folder / WEIGHTS_FILE).tensors
        return {
            "steps": steps,
            "minutes": float((self._folder / "minutes.txt").read_text()),
            "numbers": sum(tensor.numel() for tensor in tensors.values()),
            "settings": " ".join(
                setting
                for setting in [*self._own, *self._given.settings]
                if not setting.startswith(("start=", "backbone="))
            ),
        }

    def _note(self, began: float) -> None:
        """How long it has taken by now."""
        path = self._folder / "minutes.txt"
        before = float(path.read_text()) if path.is_file() else 0.0
        atomic.write_text(path, f"{before + (_now(self._given.device) - began) / 60:.2f}\n")

    def _begun(self) -> QualityConfig | None:
        """Of a training that was begun; None if there is none."""
        path = self._folder / "config.yaml"
        if not path.is_file():
            return None
        return self._config(_looks(read_yaml(path)["steps"]))

    def _config(self, steps: Sequence[str]) -> QualityConfig:
        device = f"device={self._given.device}"
        overrides = [*self._own, device, *self._given.settings, *steps]
        return load_quality_recipe(self._model, self._recipe, overrides)

    def _timed(self, sources: Sequence[PairSource]) -> QualityConfig:
        """As many steps as there is time for, validations included."""
        stamps: list[float] = []
        config = self._config(_looks(TRIAL))
        config = config.model_copy(update={"validate_every": TRIAL, "save_every": TRIAL})
        train_quality(
            config,
            sources[0],
            sources[1],
            self._folder.with_name(f"{self._folder.name}-trial"),
            resume=False,
            on_step=lambda step, loss: stamps.append(_now(config.device)),
        )
        a_step = (stamps[-2] - stamps[0]) / (len(stamps) - 2)
        a_look = stamps[-1] - stamps[-2] - a_step
        steps = max(LOOKS, int((60 * self._given.minutes - LOOKS * a_look) / a_step))
        print(
            f"{self._model}: {a_step:.3f} s a step, {a_look:.1f} s a validation, {steps} steps",
            flush=True,
        )
        return self._config(_looks(steps))


def _own(model: str, width: str) -> list[str]:
    of_model = REDUCED.get(model, ())
    if width == "full":
        of_model = FULL.get(model, ("crop=96", "references=8"))
    published = [f"backbone={find_asset('alexnet')}"] if model in ON_ALEXNET else []
    return [*of_model, *published]


def _looks(steps: int) -> list[str]:
    look = -(-steps // LOOKS)
    return [f"steps={steps}", f"validate_every={look}", f"save_every={look}", "log_every=10"]


def _now(device: str) -> float:
    """Seconds; see the module's head."""
    if choose_device(device).type == "cuda":
        return time.perf_counter()
    return time.process_time() / torch.get_num_threads()


def _show(
    figures: Path,
    name: str,
    opened: Callable[[], Scorer],
    judge: Opinions,
    facts: dict[str, Any],
) -> None:
    """Judge a scorer, and write down what was found."""
    row: dict[str, Any] = {"scorer": name, **facts}
    try:
        scorer = opened()
        began = time.perf_counter()
        found = _agreement(scorer, judge)
    except MissingAsset as error:
        row["note"] = f"not here: {error}".splitlines()[0][:200]
    else:
        row |= {"srcc": found.srcc, "plcc": found.plcc, "main": found.main}
        row["seconds"] = time.perf_counter() - began
        if found.inverse == scorer.info.higher_is_better:
            row["note"] = "runs the wrong way"
    atomic.write_text(figures / f"{name}.json", json.dumps(row, indent=1) + "\n")
    print(f"{name}: {row.get('main', row.get('note'))}", flush=True)


def _agreement(scorer: Scorer, judge: Opinions) -> Agreement:
    scores = []
    with torch.inference_mode():
        for judged in judge.sets:
            against = judged.reference.expand_as(judged.images)
            needed = against if scorer.info.needs_reference else None
            scores += scorer.score(judged.images, needed).tolist()
    return agreement(scores, judge.every.tolist())


def _done(figures: Path, name: str) -> bool:
    """Whether it was judged; what lacked its weights is tried again."""
    path = figures / f"{name}.json"
    return path.is_file() and "main" in json.loads(path.read_text())


def _read(figures: Path) -> list[dict[str, Any]]:
    rows = [json.loads(path.read_text()) for path in sorted(figures.glob("*.json"))]
    return sorted(rows, key=lambda row: -row.get("main", 0))


def _table(rows: Sequence[dict[str, Any]]) -> str:
    lines = [f"{'':<24}{''.join(f'{column:>10}' for column in COLUMNS)}  note"]
    for row in rows:
        cells = [
            " " * 10 if row.get(column) is None else format(row[column], f">10{how}")
            for column, how in COLUMNS.items()
        ]
        lines.append(f"{row['scorer']:<24}{''.join(cells)}  {row.get('note', '')}".rstrip())
    main = {row["scorer"]: row.get("main", 0.0) for row in rows}
    bar = max((main.get(name, 0.0) for name in TO_BEAT), default=0.0)
    below = [row["scorer"] for row in rows if "minutes" in row and main[row["scorer"]] <= bar]
    lines += [
        "",
        "seconds: for all images; minutes: of training on the CPU, one core's; numbers: weights.",
        f"Trained models at or below {' or '.join(TO_BEAT)}: {', '.join(below) or 'none'}.",
        "",
        *(f"{row['scorer']}: {row['settings']}" for row in rows if "settings" in row),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
