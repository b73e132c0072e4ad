"""Does criteria contrast beat a weighted regression of the same criteria? From one checkpoint.

A network of two views learns from photographs with the noise of a pool, on L1 alone; from that one
checkpoint every form goes on for the same number of steps on the same crops, each seed with crops
and a discriminator of its own. Held-out photographs are degraded alike.

    RANKSRGAN_ASSETS=weights python benchmarks/cria_cl.py --photographs bsds500_train \\
        --noise bsds500_test --held-out bsd100 --out OUT --minutes 20

It stops after so many minutes, and the same command goes on, each training from its last step.
When everything is there it prints the table, which is in ``OUT/table.txt`` then. The recipes are
those of the package (``cria_regression``, ``cria_edl``...) with their weights; what is smaller here
is the network, the crops, the steps and what computes the features of the perceptual loss.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from ranksrgan.contracts import atomic
from ranksrgan.contracts.images import list_images
from ranksrgan.contracts.scorer import Scorer
from ranksrgan.metrics import create_scorer
from ranksrgan.metrics.report import aligned
from ranksrgan.srgan import GeneratorUpscaler, evaluate_photographs, load_recipe, train
from ranksrgan.srgan.config import TrainConfig
from ranksrgan.srgan.data.crops import Photograph, read_photograph
from ranksrgan.srgan.data.degradation import RealScene
from ranksrgan.srgan.data.real_scene import Scene
from ranksrgan.srgan.generators.architectures import load_generator

BASE = "cria_regression"
FORMS = ("cria_ratio", "cria_align_negative", "cria_align_uniform", "cria_ratio_as_published")
METHODS = (BASE, "cria_edl", *FORMS)

#: With L1 alone, all on the fused picture.
INITIAL = (
    "losses.pixel.weight=1",
    "losses.perceptual.weight=0",
    "losses.adversarial.weight=0",
    "discriminator=null",
)

#: Columns, and whether higher is better; all with 4 pixels of border but LPIPS.
HIGHER_IS_BETTER = {"psnr": True, "ssim": True, "lpips": False, "niqe": False}

Scores = Mapping[str, float]


def main() -> None:
    given = _arguments()
    deadline = time.monotonic() + 60 * given.minutes
    # Held-out photographs get their noise in windows of the size that a crop in training is.
    scene = RealScene(noise=given.noise, patch=given.patch, window=given.crop // 4)
    initial = given.out / "initial"
    start = _config(BASE, given, scene, initial, 0, [*INITIAL, f"run.steps={given.first_steps}"])
    if not _trained(start, initial, deadline):
        return
    held_out = _held_out(given, scene)
    found = {("initial", 0): _scores(initial, held_out)}
    for seed in given.seeds or [0, 1, 2]:
        for method in METHODS:
            folder = given.out / f"{method}-{seed}"
            begin = f"generator.weights={initial / 'generator.safetensors'}"
            config = _config(method, given, scene, folder, seed, [begin])
            if not _trained(config, folder, deadline):
                return
            found[method, seed] = _scores(folder, held_out)
            shown = ", ".join(f"{name} {v:.4f}" for name, v in found[method, seed].items())
            print(f"{method} {seed}: {shown}", flush=True)
    text = _table(given, found)
    atomic.write_text(given.out / "table.txt", text)
    print(text, end="")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photographs", required=True, type=Path, metavar="DIR")
    parser.add_argument("--noise", required=True, type=Path, metavar="DIR", help="for the pool")
    parser.add_argument("--held-out", required=True, type=Path, metavar="DIR")
    parser.add_argument(
        "--features", default="vgg19_distilled", metavar="SPEC", help="see recipe srgan"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR")
    parser.add_argument("--minutes", type=float, default=600.0, help="by the clock, then stop")
    parser.add_argument("--seed", action="append", type=int, dest="seeds", help="0, 1 and 2")
    parser.add_argument("--first-steps", type=int, default=2000, help="on L1, once")
    parser.add_argument("--steps", type=int, default=600, help="of every form")
    parser.add_argument(
        "--images", type=int, default=25, help="of the held-out ones, spread evenly"
    )
    parser.add_argument("--patch", type=int, default=64, help="of the pool; 256 as published")
    parser.add_argument("--crop", type=int, default=64)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--width", type=int, default=12, help="64 as published")
    parser.add_argument("--blocks", type=int, default=2, help="23 as published")
    parser.add_argument("--growth", type=int, default=6, help="32 as published")
    parser.add_argument("--discriminator", type=int, default=16, help="width; 64 as published")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="of every training")
    return parser.parse_args()


def _config(
    recipe: str,
    given: argparse.Namespace,
    scene: RealScene,
    folder: Path,
    seed: int,
    more: Sequence[str],
) -> TrainConfig:
    sizes = [f"generator.features={given.width}", f"generator.blocks={given.blocks}"]
    sizes += [f"generator.growth={given.growth}"]
    if "discriminator=null" not in more:
        sizes += [f"discriminator.width={given.discriminator}"]
    data = [f"data.hr={given.photographs}", f"data.crop={given.crop}", f"data.batch={given.batch}"]
    data += [f"data.degradation.{name}={value}" for name, value in _of(scene).items()]
    run = [f"run.seed={seed}", f"run.steps={given.steps}", "run.save_every=200"]
    run += ["run.log_every=20", "run.tensorboard=false", "run.device=cpu"]
    rates = ["optimiser.generator_lr=5e-4", "optimiser.discriminator_lr=5e-4"]
    rates += ["optimiser.schedule={kind: constant}"]
    features = [f"losses.perceptual.network={given.features}"]
    return load_recipe(recipe, [*sizes, *data, *run, *rates, *features, *more, *given.settings])


def _of(scene: RealScene) -> dict[str, object]:
    return {"noise": scene.noise, "patch": scene.patch, "window": scene.window}


def _trained(config: TrainConfig, folder: Path, deadline: float) -> bool:
    """Train on, unless it is done or time is up; whether it is done."""

    def on_step(step: int, values: Mapping[str, float]) -> None:
        if time.monotonic() > deadline:
            os.kill(os.getpid(), signal.SIGTERM)  # saves after this step

    began = time.process_time()
    if time.monotonic() > deadline:
        print("time is up; the same command goes on", flush=True)
        return False
    result = train(config, folder, on_step=on_step)
    took = (time.process_time() - began) / 60
    print(f"{folder.name}: step {result.step}, {took:.1f} minutes of a core", flush=True)
    return result.finished


def _held_out(given: argparse.Namespace, scene: RealScene) -> list[Photograph]:
    """Whole photographs with the noise of the pool, the same ones for all."""
    made = Scene(scene, 4)
    paths = list_images(given.held_out)
    chosen = [paths[i * len(paths) // given.images] for i in range(min(given.images, len(paths)))]
    photographs = []
    for number, path in enumerate(chosen):
        hr = read_photograph(path, 4).hr
        lr = made.degrade(hr, np.random.default_rng([2021, number]))
        photographs.append(Photograph(path.name, hr, lr))
    return photographs


def _scores(folder: Path, photographs: Sequence[Photograph]) -> Scores:
    """Means over the held-out images, kept beside the weights."""
    kept = folder / f"scores-{len(photographs)}.json"
    if kept.is_file():
        scores: dict[str, float] = json.loads(kept.read_text(encoding="utf-8"))
        return scores
    scorers: dict[str, Scorer] = {
        **{name: create_scorer(name, border=4, luma="rgb") for name in ("psnr", "ssim")},
        "lpips": create_scorer("lpips"),
        "niqe": create_scorer("niqe", border=4),
    }
    upscaler = GeneratorUpscaler(load_generator(folder / "generator.safetensors"))
    evaluation = evaluate_photographs(upscaler, photographs, scorers)
    means = {name: evaluation.mean(name) for name in scorers}
    scores = {name: mean for name, mean in means.items() if mean is not None}
    atomic.write_text(kept, json.dumps(scores))
    return scores


def _table(given: argparse.Namespace, found: Mapping[tuple[str, int], Scores]) -> str:
    """Means and deviations over the seeds, and what is better than the regression on every seed."""
    seeds = given.seeds or [0, 1, 2]
    names = list(HIGHER_IS_BETTER)
    heads = [f"{name} {'↑' if up else '↓'}" for name, up in HIGHER_IS_BETTER.items()]
    lines = [["method", *heads]]
    lines.append(["initial", *(f"{found['initial', 0][name]:.4f}         " for name in names)])
    for method in METHODS:
        cells = [_spread([found[method, seed][name] for seed in seeds]) for name in names]
        lines.append([method, *cells])
    text = [
        f"{given.steps} steps from one checkpoint ({given.first_steps} steps of L1), crops of "
        f"{given.crop}, batch {given.batch}, {given.width} features, {given.blocks} blocks; "
        f"{given.images} photographs held out; mean ± deviation over seeds "
        f"{', '.join(map(str, seeds))}.\n",
        aligned(lines),
        f"\nDifferences to {BASE} with the same seed, mean ± deviation; * better on every seed:\n",
    ]
    differences, wins = [["method", *heads]], []
    for method in METHODS[1:]:
        cells = []
        for name, up in HIGHER_IS_BETTER.items():
            gaps = [found[method, seed][name] - found[BASE, seed][name] for seed in seeds]
            better = all((gap > 0) == up and gap != 0 for gap in gaps)
            cells.append(f"{_spread(gaps, sign=True)}{'*' if better else ' '}")
            if better and method in FORMS:
                wins.append(f"{method} in {name}")
        differences.append([method, *cells])
    text.append(aligned(differences))
    verdict = f"better on every seed: {', '.join(wins)}" if wins else "none wins in any metric"
    text.append(f"\nContrast forms against the weighted regression: {verdict}.\n")
    return "".join(text)


def _spread(values: Sequence[float], *, sign: bool = False) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    mean = statistics.fmean(values)
    return f"{mean:{'+' if sign else ''}.4f} ± {deviation:.4f}"


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    main()
