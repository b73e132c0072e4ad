"""``ranksrgan demo``: the whole of RankSRGAN on photographs, a table, a page, and the services."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from statistics import fmean

from torch import Tensor

from ranksrgan.contracts import open_scorer, open_upscaler
from ranksrgan.contracts.clients.upscaler import RemoteUpscaler
from ranksrgan.contracts.config import load_config
from ranksrgan.contracts.curves import read_curve
from ranksrgan.contracts.enlarged import enlarge
from ranksrgan.contracts.errors import InternalError
from ranksrgan.contracts.images import (
    Picture,
    encode_image,
    from_tensor,
    list_images,
    read_image,
    to_tensor,
    write_image,
)
from ranksrgan.pipeline.config import PipelineConfig
from ranksrgan.pipeline.crops import crop_picture, sharpest_box
from ranksrgan.pipeline.photographs import export_photographs
from ranksrgan.pipeline.reproduction.findings import (
    Cell,
    Column,
    Crop,
    Curve,
    Findings,
    ImageRow,
    Row,
    Table,
    Verdict,
)
from ranksrgan.pipeline.reproduction.page import write_page
from ranksrgan.pipeline.services import local_services
from ranksrgan.pipeline.stages import BICUBIC, CONTROL, RANKSRGAN, SRRESNET, Outcome, run
from ranksrgan.rankdata.degradation import read_source
from ranksrgan.srgan.upscaling.picture import upscale_picture

REPORT_FILE = "report.html"
MODEL = "ranksrgan"
CROP = 160
HELD_OUT = "held out"
GROUND_TRUTH = "ground truth"

#: The columns of the table, by the names of the scores.
FIGURES = {
    "psnr": Column("PSNR-Y", True, 2, "dB"),
    "ssim": Column("SSIM-Y", True, 4),
    "niqe": Column("NIQE", False, 3),
    "ranker": Column("Ranker", False, 3),
}
COLUMNS = (
    "method",
    *(
        f"{column.name} ({column.unit})" if column.unit else column.name
        for column in FIGURES.values()
    ),
)


def demo_config(
    output: Path, seed: int, overrides: tuple[str, ...] = (), *, from_nothing: bool = False
) -> PipelineConfig:
    """The demo's pipeline on scikit-image's photographs, which are written to ``output``.

    Args:
        output: folder of the run.
        seed: of every stage.
        overrides: ``key=value`` each.
        from_nothing: the packaged ``from_nothing.yaml``, small networks trained from random
            weights, instead of ``demo.yaml``, which goes on from the shipped ones.
    """
    training, held_out = export_photographs(output / "photographs")
    name = "from_nothing.yaml" if from_nothing else "demo.yaml"
    with as_file(files("ranksrgan.pipeline") / name) as path:
        places = {"training": training, "held_out": held_out, "output": output}
        settings = [f"{key}={json.dumps(str(place))}" for key, place in places.items()]
        return load_config(PipelineConfig, path, [*settings, f"seed={seed}", *overrides])


def run_demo(config: PipelineConfig, deploy: Path | None, say: Callable[[str], None]) -> Outcome:
    """Run every stage, tell the results, write the page, and try the services.

    Args:
        config: see `demo_config`.
        deploy: ``deploy/local.sh``; None leaves the services out.
        say: takes the lines meant for the reader.

    Raises:
        RankSRGANError: a stage failed, or a service answered something else than this process.
    """
    outcome = run(config)
    for line in summarise(outcome):
        say(line)
    write_page(make_findings(outcome, config), config.output / REPORT_FILE)
    say(f"The page: {config.output / REPORT_FILE}")
    if deploy is None:
        say("The services were left out (--deploy deploy/local.sh tries them).")
    else:
        check_services(outcome, config.held_out, deploy, say)
    return outcome


NOTES = (
    "All numbers are of photographs that no training has seen. PSNR and SSIM are of luma without "
    "a border of 4 pixels and higher is better; for NIQE and for the Ranker, which learnt its "
    "direction, lower is better. Nothing was chosen by these photographs.",
    "The perceptual loss was left out, since VGG19's weights are a download; recipes with it are "
    "in ranksrgan.srgan.",
)


def summarise(outcome: Outcome) -> list[str]:
    """The table, the Ranker's line and the verdict, as lines of plain text."""
    rows = [table_row(outcome, name) for name in outcome.scores]
    return [*format_table(COLUMNS, rows), "", ranker_line(outcome), verdict(outcome)]


def ranker_line(outcome: Outcome) -> str:
    """How well the Ranker orders versions of the held-out images."""
    found = outcome.ranker_held_out
    within = _number(found.srocc_per_content, 3)
    share = "-" if found.pair_accuracy is None else f"{found.pair_accuracy:.1%}"
    return (
        f"The Ranker on held-out images: SROCC {found.srocc:.3f} over all {found.images} crops, "
        f"{within} among the versions of a crop, {share} of the pairs in the right order."
    )


def verdict(outcome: Outcome) -> str:
    """The line that the demo is about."""
    if outcome.better_than_control is None:
        return "There was no control to compare with."
    ours, theirs = (outcome.scores[name].mean("niqe") for name in (RANKSRGAN, CONTROL))
    answer = "yes" if outcome.better_than_control else "no"
    return (
        f"Is RankSRGAN's NIQE below that of SRGAN trained as long without the Ranker? {answer}: "
        f"{_number(ours, 3)} against {_number(theirs, 3)}."
    )


def table_row(outcome: Outcome, method: str) -> tuple[str, ...]:
    """Mean scores of a method, in the order of `COLUMNS`."""
    scores = outcome.scores[method]
    figures = (_number(scores.mean(key), column.digits) for key, column in FIGURES.items())
    return (method, *figures)


def format_table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """Lines of a table in plain text."""
    widths = [max(len(row[i]) for row in (columns, *rows)) for i in range(len(columns))]
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in (columns, *rows)
    ]


def make_findings(outcome: Outcome, config: PipelineConfig) -> Findings:
    """What the page shows. The held-out photographs, and enlarged ones, are written beside it."""
    answer = outcome.better_than_control
    crops = side_by_side(outcome, config.held_out)
    rows = [
        Row("", name, tuple(Cell(scores.mean(key)) for key in FIGURES), reference=name == BICUBIC)
        for name, scores in outcome.scores.items()
    ]
    rows.append(Row("", GROUND_TRUTH, tuple(_of_originals(crops)), reference=True))
    return Findings(
        name="demo",
        title="RankSRGAN on photographs",
        claim="RankSRGAN's NIQE is below that of SRGAN trained as long without the Ranker.",
        scale="demo",
        seeds=(config.seed,),
        verdicts=(
            Verdict(
                verdict(outcome),
                "undecided" if answer is None else "held" if answer else "not held",
            ),
        ),
        table=Table(tuple(FIGURES.values()), tuple(rows)),
        notes=(ranker_line(outcome), *NOTES),
        curves=tuple(curves(config.output, config.seed)),
        crops=tuple(crops),
        images=tuple(
            ImageRow(HELD_OUT, image.image, name, None, _figures(image.scores))
            for name, scores in outcome.scores.items()
            for image in scores.images
        ),
    )


def side_by_side(outcome: Outcome, held_out: Path) -> list[Crop]:
    """The same crop of every method and of HR, for each held-out photograph; also the whole."""
    found = []
    upscalers = {name: open_upscaler(spec) for name, spec in outcome.models.items()}
    for index, path in enumerate(list_images(held_out)):
        source = read_source(path, outcome.scale)
        hr = _picture(source.hr / 255)
        reference = open_scorer(f"niqe?border={outcome.scale}").score(source.hr).item()
        pictures: list[tuple[str, Picture, Mapping[str, float | None]]] = []
        for name, upscaler in upscalers.items():
            picture = _picture(enlarge(upscaler, source.lr, source.name))
            pictures.append((name, picture, outcome.scores[name].images[index].scores))
        pictures.append((GROUND_TRUTH, hr, {"niqe": reference}))
        for name, picture, _ in pictures:
            write_image(outcome.folder / "held-out" / slug(name) / f"{source.name}.png", picture)
        side = min(CROP, hr.height, hr.width)
        box = sharpest_box(hr, side)
        for name, picture, scores in pictures:
            place = f"crops/{slug(name)}/{source.name}.png"
            write_image(outcome.folder / place, crop_picture(picture, box, side))
            found.append(Crop(HELD_OUT, source.name, name, None, place, _figures(scores)))
    return found


def curves(folder: Path, seed: int) -> list[Curve]:
    """How it went; curves of one metric make one chart."""

    def read(stage: str, column: str, metric: str, method: str, better: bool) -> list[Curve]:
        path = folder / stage / "validation.csv"
        if not path.is_file():  # a stage that was given instead of run
            return []
        rows = [row for row in read_curve(path) if row[column]]
        steps = tuple(float(row["step"]) for row in rows)
        values = tuple(float(row[column]) for row in rows)
        return (
            [Curve(metric, method, seed, method == CONTROL, steps, values, better)] if rows else []
        )

    of_ranker, of_srresnet = "SROCC of the Ranker's validation", "PSNR-Y of SRResNet"
    return [
        *read("5-ranksrgan", "niqe", "NIQE", RANKSRGAN, False),
        *read("6-control", "niqe", "NIQE", CONTROL, False),
        *read("5-ranksrgan", "psnr", "PSNR-Y", RANKSRGAN, True),
        *read("6-control", "psnr", "PSNR-Y", CONTROL, True),
        *read("1-srresnet", "psnr", of_srresnet, SRRESNET, True),
        *read("4-ranker", "srocc", of_ranker, "over all crops", True),
        *read("4-ranker", "srocc_per_content", of_ranker, "within a crop", True),
    ]


def check_services(
    outcome: Outcome, held_out: Path, deploy: Path, say: Callable[[str], None]
) -> None:
    """Upscale and score one image through the services and compare with this process.

    Raises:
        ServiceUnavailable: they did not come up.
        InternalError: a service's answer differs.
    """
    path = list_images(held_out)[0]
    lr = _picture(read_source(path, outcome.scale).lr)
    request = encode_image(lr)
    weights = outcome.models[RANKSRGAN]
    here = encode_image(upscale_picture(lr, open_upscaler(weights)))
    with local_services(
        deploy,
        outcome.folder / "services",
        rankers={"ranker": outcome.ranker},
        models={MODEL: Path(weights)},
    ) as addresses:
        remote = open_upscaler(f"grpc://{addresses.srgan}/{MODEL}")
        if not isinstance(remote, RemoteUpscaler):
            raise InternalError("an address opened something that is not remote")
        there = remote.upscale_encoded(request)
        if there != here:
            raise InternalError("the srgan service's picture differs from this process's")
        say(f"Services: {path.name} upscaled over gRPC, {len(there)} bytes, equal.")
        enlarged = to_tensor(read_image(path))
        for name, local in (("niqe", "niqe"), ("ranker", str(outcome.ranker))):
            address = addresses.metrics if name == "niqe" else addresses.ranker
            ours = open_scorer(local).score(enlarged).item()
            theirs = open_scorer(f"grpc://{address}/{name}").score(enlarged).item()
            if ours != theirs:
                raise InternalError(f"the {name} service says {theirs}; this process says {ours}")
            say(f"Services: {name} over gRPC {theirs:.6f}, equal.")


def slug(method: str) -> str:
    """A method's name as a folder's."""
    return method.lower().replace(" ", "-")


def _figures(scores: Mapping[str, float | None]) -> dict[str, float | None]:
    """An image's scores by the names of the columns."""
    return {column.name: scores[key] for key, column in FIGURES.items() if key in scores}


def _of_originals(crops: Sequence[Crop]) -> Iterator[Cell]:
    """The row of the originals, whose crops have the scores of the whole pictures."""
    for column in FIGURES.values():
        found = [
            score
            for crop in crops
            if crop.method == GROUND_TRUTH
            if (score := crop.scores.get(column.name)) is not None
        ]
        yield Cell(fmean(found)) if found else Cell(None, count=0)


def _picture(image: Tensor) -> Picture:
    return from_tensor(image[0])


def _number(value: float | None, places: int) -> str:
    return "-" if value is None else f"{value:.{places}f}"
