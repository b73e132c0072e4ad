"""How good the shipped networks are, and their model cards.

    python -m benchmarks.shipped_weights --data DIR             print the figures
    python -m benchmarks.shipped_weights --data DIR --check     and compare them with the cards
    python -m benchmarks.shipped_weights --data DIR --write     and write them into the cards
    python -m benchmarks.shipped_weights --take ranksrgan=RUN/generator.safetensors [NAME=FILE ...]

DIR holds ``images/set5``, ``set14`` and ``bsd100``, and the weights behind LPIPS. LR images are
made by MATLAB's bicubic x4 of 8-bit pixels; results are rounded to 8 bits; PSNR and SSIM are of
luma, and every metric leaves out a border of 4 pixels. The Ranker's figures are of five versions of
each image: bicubic, the three networks, and the original.

``--take`` makes a shipped file from a training's: half precision, the same bytes every time. It
writes into the card what the training's ``config.yaml`` and ``run.json`` say, and the sha256; the
figures are the next command's.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import torch
import yaml

from ranksrgan.contracts import atomic, open_scorer, open_upscaler
from ranksrgan.contracts.checkpoint import load_weights
from ranksrgan.contracts.errors import ImageTooSmall, UndefinedScore
from ranksrgan.contracts.images import as_float, list_images
from ranksrgan.contracts.scorer import Scorer
from ranksrgan.contracts.shipped import ShippedWeights
from ranksrgan.metrics import create_scorer, lpips, srocc
from ranksrgan.ranker.networks import convert as convert_ranker
from ranksrgan.ranker.shipped import SHIPPED as RANKERS
from ranksrgan.srgan.conversion import convert as convert_generator
from ranksrgan.srgan.data.crops import read_photograph
from ranksrgan.srgan.shipped import SHIPPED as GENERATORS

SETS = ("set5", "set14", "bsd100")
TITLES = {"set5": "Set5", "set14": "Set14", "bsd100": "BSD100"}
SCALE = 4

#: Columns of a generator's card: title, digits, and how far another machine's figure may be off.
GENERATOR_COLUMNS = {
    "psnr": ("PSNR-Y (dB)", 2, 0.02),
    "ssim": ("SSIM-Y", 4, 0.001),
    "niqe": ("NIQE", 3, 0.02),
    "lpips": ("LPIPS", 4, 0.002),
    "original": ("NIQE of the originals", 3, 0.01),
}
RANKER_COLUMNS = {
    "srocc": ("SROCC with NIQE, all images", 3, 0.01),
    "pairs": ("pairs of versions in NIQE's order", 3, 0.01),
}

#: Figures by network, then by test set, then by column.
Figures = dict[str, dict[str, dict[str, float]]]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, metavar="DIR")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--models", nargs="+", choices=GENERATORS.names, default=GENERATORS.names)
    parser.add_argument("--check", action="store_true", help="exit code 1 if a card says otherwise")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--take", nargs="+", default=[], metavar="NAME=FILE")
    given = parser.parse_args()
    for text in given.take:
        name, _, file = text.partition("=")
        take(name, Path(file))
    if given.data is None:
        return 0
    figures = measure(given.data, given.sets, given.models)
    wrong = []
    for name, by_set in figures.items():
        print("\n".join([f"\n{name}", *table(name, by_set)]))
        if given.check:
            wrong += differences(name, by_set)
        if given.write:
            rewrite(name, "figures", table(name, by_set))
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


def shipper(name: str) -> ShippedWeights:
    return RANKERS if name in RANKERS.names else GENERATORS


def columns(name: str) -> Mapping[str, tuple[str, int, float]]:
    return RANKER_COLUMNS if name in RANKERS.names else GENERATOR_COLUMNS


def measure(data: Path, sets: Sequence[str], models: Sequence[str]) -> Figures:
    """Figures of the generators, and, if all of them are measured, of the Rankers."""
    metrics = {name: create_scorer(name, border=SCALE) for name in ("psnr", "ssim", "niqe")}
    perceptual = {
        "backbone": data / "weights" / "perceptual" / "alexnet_features.pth",
        "weights": data / "weights" / "lpips" / "lpips_lin_v0.1_alex.pth",
    }
    whole = list(models) == GENERATORS.names
    rankers = {name: open_scorer(name) for name in RANKERS.names} if whole else {}
    upscalers = {name: open_upscaler(name) for name in models}
    if whole:
        upscalers = {"bicubic": open_upscaler(f"bicubic?scale={SCALE}"), **upscalers}
    figures: Figures = {name: {} for name in [*models, *rankers]}
    for place in sets:
        scores: dict[str, list[dict[str, float]]] = {name: [] for name in [*upscalers, "original"]}
        for path in list_images(data / "images" / place):
            photograph = read_photograph(path, SCALE)
            original = photograph.hr[None]
            versions = {
                name: (upscaler.upscale(as_float(photograph.lr[None])) * 255).round().byte()
                for name, upscaler in upscalers.items()
            }
            for name, image in versions.items():
                found = _scores({**metrics, **rankers}, image, original)
                found["lpips"] = float(lpips(image, original, border=SCALE, **perceptual))
                scores[name].append(found)
            naturalness = {"niqe": metrics["niqe"], **rankers}
            scores["original"].append(_scores(naturalness, original, original))
        originals = _mean([row["niqe"] for row in scores["original"]])
        for name in models:
            rows = scores[name]
            means = {column: _mean([row[column] for row in rows]) for column in rows[0]}
            figures[name][place] = {**means, "original": originals}
        for name in rankers:
            figures[name][place] = _agreement(name, list(scores.values()))
    return figures


def _scores(
    scorers: Mapping[str, Scorer], image: torch.Tensor, original: torch.Tensor
) -> dict[str, float]:
    """By name; NaN where a metric has no value for an image, as NIQE for a very small one."""
    found = {}
    for name, scorer in scorers.items():
        reference = original if scorer.info.needs_reference else None
        try:
            found[name] = float(scorer.score(image, reference))
        except (ImageTooSmall, UndefinedScore):
            found[name] = float("nan")
    return found


def _mean(values: Sequence[float]) -> float:
    return float(torch.tensor(values, dtype=torch.float64).nanmean())


def _agreement(ranker: str, versions: Sequence[Sequence[Mapping[str, float]]]) -> dict[str, float]:
    """How well a Ranker orders images as NIQE does; ``versions[v][i]`` is of image i."""
    niqe, ours = (
        torch.tensor([[row[name] for row in rows] for rows in versions], dtype=torch.float64)
        for name in ("niqe", ranker)
    )
    known = ~niqe.isnan()
    first, second = torch.triu_indices(len(niqe), len(niqe), 1)
    gaps, theirs = niqe[first] - niqe[second], ours[first] - ours[second]
    decided = ~gaps.isnan() & (gaps != 0)
    right = (gaps.sign() == theirs.sign())[decided].double().mean()
    return {"srocc": float(srocc(ours[known], niqe[known])), "pairs": float(right)}


def table(name: str, by_set: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Lines of Markdown, a row for each test set."""
    shown = columns(name)
    lines = ["| |" + "|".join(f" {title} " for title, _, _ in shown.values()) + "|"]
    lines.append("|---" * (len(shown) + 1) + "|")
    for place, values in by_set.items():
        cells = [f"{values[key]:.{digits}f}" for key, (_, digits, _) in shown.items()]
        lines.append(f"| {TITLES[place]} | {' | '.join(cells)} |")
    return lines


def differences(name: str, by_set: Mapping[str, Mapping[str, float]]) -> list[str]:
    """What a card says otherwise, the hash of the file included; nothing if all is right."""
    card = shipper(name).card(name)
    text = card.read_text()
    wrong = [] if sha256(name) in text else [f"{card}: it is of another file than lies beside it"]
    shown = columns(name)
    for place, values in by_set.items():
        row = re.search(rf"^\| {TITLES[place]} \|(.*)\|$", text, re.MULTILINE)
        told = [float(cell) for cell in row[1].split("|")] if row else []
        if len(told) != len(shown):
            wrong.append(f"{card}: it has no figures of {TITLES[place]}")
            continue
        for (key, (title, digits, tolerance)), said in zip(shown.items(), told, strict=True):
            if not abs(values[key] - said) <= tolerance:
                wrong.append(
                    f"{card}: {title} on {TITLES[place]} is {values[key]:.{digits}f}, not {said}"
                )
    return wrong


def rewrite(name: str, block: str, lines: Sequence[str]) -> None:
    """Replace what stands between ``<!-- BLOCK -->`` and ``<!-- end -->`` of a card."""
    card = shipper(name).card(name)
    inside = "\n".join(lines)
    text, count = re.subn(
        rf"(<!-- {block} -->\n).*?(<!-- end -->)",
        lambda found: f"{found[1]}{inside}\n{found[2]}",
        card.read_text(),
        flags=re.DOTALL,
    )
    if count != 1:
        raise SystemExit(f"{card}: it should have one block <!-- {block} --> ... <!-- end -->")
    atomic.write_text(card, text)


def sha256(name: str) -> str:
    """Of a shipped file."""
    return hashlib.sha256(shipper(name).path(name).read_bytes()).hexdigest()


def take(name: str, source: Path) -> None:
    """Make a shipped file of a training's weights, and tell its card what the training was."""
    ours = shipper(name)
    if name not in ours.names:
        raise SystemExit(f"there is no {name}; {', '.join([*GENERATORS.names, *RANKERS.names])}")
    target = ours.folder / f"{ours.stems[name]}.safetensors"
    convert = convert_ranker if ours is RANKERS else convert_generator
    network = convert(source, target, half=True)
    told = {"network": f"{network.architecture}, {json.dumps(network.options)}"}
    about = load_weights(source).about
    config, run = source.with_name("config.yaml"), source.with_name("run.json")
    if config.is_file():
        told |= (_ranker_facts if ours is RANKERS else _generator_facts)(
            yaml.safe_load(config.read_text()), about
        )
    if run.is_file():
        record = json.loads(run.read_text())
        told["command"] = f"`{shlex.join(map(_portable, record['command']))}`"
        told["torch"] = str(record["versions"]["torch"])
    told["sha256 of the file"] = sha256(name)
    rewrite(name, "training", ["| | |", "|---|---|", *(f"| {k} | {v} |" for k, v in told.items())])
    print(f"{target}: {target.stat().st_size / 2**20:.1f} MiB of {source}")


def _of_all(best: int, steps: int) -> str:
    return str(steps) if best == steps else f"{best}, the best of {steps}"


def _generator_facts(config: dict[str, Any], about: dict[str, Any]) -> dict[str, str]:
    data, optimiser, losses = config["data"], config["optimiser"], config["losses"]
    weights = {
        name: f"{name} {losses[name]['weight']:g} {losses[name].get('criterion', '')}".strip()
        for name in ("pixel", "perceptual", "adversarial", "rank")
        if losses[name]["weight"]
    }
    weights |= {one["spec"]: f"{one['spec']} {one['weight']:g}" for one in losses["scorers"]}
    return {
        "steps": str(about.get("step", config["run"]["steps"])),
        "seed": str(config["run"]["seed"]),
        "crops": f"{data['batch']} of {data['crop']} pixels a step",
        "losses": ", ".join(weights.values()),
        "learning rate": f"{optimiser['generator_lr']:g}, {optimiser['schedule']['kind']}",
        "moving average of weights": f"{optimiser['ema']:g}",
    }


def _ranker_facts(config: dict[str, Any], about: dict[str, Any]) -> dict[str, str]:
    losses = ", ".join(f"{name} {weight:g}" for name, weight in config["losses"].items())
    return {
        "steps": _of_all(about.get("steps", config["steps"]), config["steps"]),
        "seed": str(config["seed"]),
        "levels": ", ".join(about.get("levels", [])),
        "metric": str(about.get("metric")),
        "batch": f"{config['batch']} {config['sample']}",
        "losses": losses,
        "learning rate": f"{config['lr']:g}",
    }


def _portable(argument: str) -> str:
    """An argument without the folders of the machine that it was given on."""
    key, separator, value = argument.rpartition("=")
    if value.startswith("/"):
        value = PurePosixPath(value).name
    return f"{key}{separator}{value}"


if __name__ == "__main__":
    sys.exit(main())
