"""Subcommands of ``ranksrgan-rankdata`` beside ``build`` and ``inspect``:

bound            how much the ranks of the metric are worth: the paper's upper bound
pack             write the crops into LMDB files for training at scale
human            make a dataset of people's judgement
export-labels    write a dataset in the official form: patch folders and a text file
import-labels    read that form
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from ranksrgan.contracts import ScorerInfo
from ranksrgan.contracts.config import load_config
from ranksrgan.contracts.console import add_named_paths, add_settings, whole_number
from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.rankdata.bound import UpperBound, upper_bounds
from ranksrgan.rankdata.building.assemble import describe_losses
from ranksrgan.rankdata.dataset import RankDataset
from ranksrgan.rankdata.human import VotesConfig, build_from_judgements, load_human_config
from ranksrgan.rankdata.inspect import summarise
from ranksrgan.rankdata.manifest import scorer_facts
from ranksrgan.rankdata.official_labels import ImportConfig, export_labels, import_labels
from ranksrgan.rankdata.pack import SHARD_BYTES, pack
from ranksrgan.rankdata.study_ratings import RATINGS

if TYPE_CHECKING:
    from ranksrgan.rankdata.building.build import Progress

# The flags of import-labels that are configuration keys.
_IMPORT_KEYS = (
    *("labels", "output", "metric", "higher_is_better", "sources"),
    *("val", "test", "seed"),
)


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommands; each sets its function as ``command``."""
    _add_bound(commands)
    _add_pack(commands)
    _add_human(commands)
    _add_export(commands)
    _add_import(commands)


def _add_bound(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("bound", help="what the ranks of the metric are worth")
    parser.add_argument("dataset", metavar="DIR", type=Path)
    parser.add_argument("--split", metavar="NAME", help="train, val or test (all)")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    parser.set_defaults(command=_bound)


def _bound(arguments: argparse.Namespace) -> int:
    dataset = RankDataset.open(arguments.dataset)
    bounds = upper_bounds(dataset, arguments.split)
    if arguments.format == "json":
        print(json.dumps(_bounds_as_json(dataset, bounds), indent=2, allow_nan=False))
    else:
        print("\n".join(_bounds_as_table(dataset, bounds)))
    return 0


def _bounds_as_json(dataset: RankDataset, bounds: Iterable[UpperBound]) -> dict[str, Any]:
    return {
        "metric": scorer_facts(dataset.metric),
        "bounds": [
            {
                "contents": bound.contents,
                "levels": {
                    level: {"mean": _finite(mean), "better": better}
                    for level, mean, better in zip(
                        bound.levels, bound.means, bound.better, strict=True
                    )
                },
                "best": bound.best,
                "bound": _finite(bound.bound),
                "gain": _finite(bound.gain),
            }
            for bound in bounds
        ],
    }


def _bounds_as_table(dataset: RankDataset, bounds: Iterable[UpperBound]) -> Iterator[str]:
    yield f"metric: {_directed(dataset.metric)}"
    for bound in bounds:
        yield ""
        yield f"{' / '.join(bound.levels)}: {bound.contents} contents"
        yield f"{'':<24}{'mean':>10}{'better':>9}"
        for level, mean, share in zip(bound.levels, bound.means, bound.better, strict=True):
            yield f"{level:<24}{mean:>10.4f}{share:>9.1%}"
        yield f"{'best of each content':<24}{bound.bound:>10.4f}"
        yield f"{f'gain over {bound.best}':<24}{bound.gain:>10.4f}"


def _finite(number: float) -> float | None:
    """PSNR of the original is infinite; JSON has no infinity."""
    return number if math.isfinite(number) else None


def _add_pack(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("pack", help="write the crops into LMDB files for training")
    parser.add_argument("dataset", metavar="DIR", type=Path)
    parser.add_argument(
        "--shard-mib",
        metavar="N",
        type=whole_number(1),
        default=SHARD_BYTES // 2**20,
        help="size of a file (%(default)s)",
    )
    parser.set_defaults(command=_pack)


def _pack(arguments: argparse.Namespace) -> int:
    with _progress_bar("crop") as progress:
        index = pack(arguments.dataset, shard_bytes=arguments.shard_mib * 2**20, progress=progress)
    contents = sum(shard.contents for shard in index.shards)
    print(
        f"{contents} contents in {len(index.shards)} file(s), {index.bytes / 1e6:.1f} MB, in "
        f"{arguments.dataset}/pack"
    )
    return 0


def _add_force(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace a dataset that is there once the new one is complete",
    )


def _add_human(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("human", help="make a dataset of people's judgement")
    parser.add_argument("--recipe", metavar="FILE", type=Path, required=True, help="YAML")
    _add_force(parser)
    parser.add_argument(
        "--ratings",
        metavar="FILE",
        type=Path,
        help="ratings.csv of the dataset that the study was before; the votes are new ones only",
    )
    add_settings(parser, "overrides", "any configuration key")
    parser.set_defaults(command=_human)


def _human(arguments: argparse.Namespace) -> int:
    config = load_human_config(arguments.recipe, arguments.overrides)
    if arguments.ratings is not None:
        if not isinstance(config, VotesConfig):
            raise InvalidConfig(
                f"--ratings goes on from ratings of votes, and kind is {config.kind}",
                field="ratings",
            )
        config = config.model_copy(update={"ratings": arguments.ratings})
    with _progress_bar("reference") as progress:
        dataset = build_from_judgements(config, overwrite=arguments.force, progress=progress)
    print("\n".join(_describe(dataset)))
    if isinstance(config, VotesConfig):
        print(f"ratings to go on from in {dataset.folder / RATINGS}")
    return 0


def _add_export(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "export-labels", help="write a dataset in the official form: patch folders and a text file"
    )
    parser.add_argument("dataset", metavar="DIR", type=Path)
    parser.add_argument("-o", "--output", metavar="DIR", type=Path, required=True)
    parser.add_argument("--split", metavar="NAME", help="train, val or test (all)")
    parser.add_argument(
        "--levels", metavar="NAME", nargs="+", help="which levels, in the order of the lines (all)"
    )
    parser.set_defaults(command=_export)


def _export(arguments: argparse.Namespace) -> int:
    dataset = RankDataset.open(arguments.dataset)
    with _progress_bar("crop") as progress:
        contents = export_labels(
            dataset,
            arguments.output,
            split=arguments.split,
            levels=arguments.levels,
            progress=progress,
        )
    levels = len(arguments.levels or dataset.levels)
    print(f"{contents} contents at {levels} levels in {arguments.output}")
    return 0


def _add_import(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("import-labels", help="read the official form")
    add_named_paths(parser, "--level", "the folder of a level whose files are N_NAME.png")
    parser.add_argument("--labels", metavar="FILE", required=True, help="lines of name and value")
    parser.add_argument("-o", "--output", metavar="DIR", required=True, help="the new dataset")
    parser.add_argument(
        "--metric",
        metavar="NAME",
        help="what the values are (what export-labels has written beside them, else niqe?border=4)",
    )
    parser.add_argument(
        "--higher-is-better",
        action="store_true",
        default=None,
        help="of a metric whose direction is not known",
    )
    parser.add_argument(
        "--sources",
        metavar="FILE.csv",
        help="columns patch and source: patches of one image stay in one split",
    )
    parser.add_argument("--val", metavar="X", type=float, help="share for validation (0.1)")
    parser.add_argument("--test", metavar="X", type=float, help="share for testing (0)")
    parser.add_argument("--seed", metavar="N", type=int, help="of the split (0)")
    _add_force(parser)
    parser.set_defaults(command=_import)


def _import(arguments: argparse.Namespace) -> int:
    settings: dict[str, Any] = {
        key: value for key in _IMPORT_KEYS if (value := getattr(arguments, key)) is not None
    }
    settings["levels"] = {name: str(folder) for name, folder in arguments.level.items()}
    # JSON is YAML: no path is mistaken for a number or a list.
    overrides = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    config = load_config(ImportConfig, None, overrides)
    with _progress_bar("patch") as progress:
        dataset = import_labels(config, overwrite=arguments.force, progress=progress)
    print("\n".join(_describe(dataset)))
    if config.sources is None:
        print("split by patch: crops of one image may be in two splits (--sources prevents it)")
    return 0


def _describe(dataset: RankDataset) -> Iterator[str]:
    report = summarise(dataset)
    for name, split in report.splits.items():
        crops = f"{split.crops} crops of {split.sources} images"
        yield f"{name}: {f'{split.crops} patches' if report.patches else crops}"
    losses = describe_losses(report.counts)
    if losses:
        yield f"dropped: {losses}"
    for group in dataset.record.duplicates:
        yield f"near-duplicates, in one split: {', '.join(group)}"
    metric = _directed(dataset.metric)
    yield f"{len(dataset.levels)} levels labelled by {metric} in {dataset.folder}"


def _directed(metric: ScorerInfo) -> str:
    return f"{metric.name} ({'higher' if metric.higher_is_better else 'lower'} is better)"


@contextmanager
def _progress_bar(unit: str) -> Iterator[Progress]:
    """A bar with the time left on standard error, silent where that is no terminal."""
    with tqdm(unit=unit, file=sys.stderr, disable=None) as bar:

        def progress(done: int, total: int, source: str) -> None:
            bar.total = total
            bar.set_postfix_str(source, refresh=False)
            bar.update(done - bar.n)

        yield progress
