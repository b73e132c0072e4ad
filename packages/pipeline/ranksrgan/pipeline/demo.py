"""``ranksrgan demo``: the whole of RankSRGAN on photographs, a table, a page, and the services."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib.resources import as_file, files
from pathlib import Path

from torch import Tensor

from ranksrgan.contracts import open_scorer, open_upscaler
from ranksrgan.contracts.client import RemoteUpscaler
from ranksrgan.contracts.config import load_config
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
from ranksrgan.pipeline.photographs import export_photographs
from ranksrgan.pipeline.report import (
    Crop,
    Curve,
    Report,
    crop_picture,
    read_series,
    sharpest_box,
    write_report,
)
from ranksrgan.pipeline.services import local_services
from ranksrgan.pipeline.stages import CONTROL, RANKSRGAN, SRRESNET, Outcome, run
from ranksrgan.rankdata.degradation import read_source
from ranksrgan.srgan.upscaling.picture import upscale_picture

REPORT_FILE = "report.html"
MODEL = "ranksrgan"
CROP = 96
COLUMNS = ("method", "PSNR-Y (dB)", "SSIM-Y", "NIQE", "Ranker")


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
    report = Report(
        title="RankSRGAN on photographs",
        verdict=(verdict(outcome), bool(outcome.better_than_control)),
        columns=COLUMNS,
        rows=[table_row(outcome, name) for name in outcome.scores],
        notes=[ranker_line(outcome), *NOTES],
        crops=side_by_side(outcome, config.held_out),
        plots=plots(config.output),
    )
    write_report(config.output / REPORT_FILE, report)
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
    digits = {"psnr": 2, "ssim": 4, "niqe": 3, "ranker": 3}
    return (method, *(_number(scores.mean(name), places) for name, places in digits.items()))


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


def side_by_side(outcome: Outcome, held_out: Path) -> dict[str, list[Crop]]:
    """The same crop of every method and of HR, for each held-out photograph; also as PNG files."""
    rows: dict[str, list[Crop]] = {}
    upscalers = {name: open_upscaler(spec) for name, spec in outcome.models.items()}
    for index, path in enumerate(list_images(held_out)):
        source = read_source(path, outcome.scale)
        hr = _picture(source.hr / 255)
        box = sharpest_box(hr, CROP)
        row = []
        for name, upscaler in upscalers.items():
            picture = _picture(upscaler.upscale(source.lr))
            write_image(outcome.folder / "held-out" / slug(name) / f"{source.name}.png", picture)
            niqe = outcome.scores[name].images[index].scores["niqe"]
            caption = f"NIQE {_number(niqe, 2)}"
            row.append(Crop(name, caption, crop_picture(picture, box, CROP)))
        reference = open_scorer(f"niqe?border={outcome.scale}").score(source.hr).item()
        row.append(Crop("HR", f"NIQE {reference:.2f}", crop_picture(hr, box, CROP)))
        rows[source.name] = row
    return rows


def plots(folder: Path) -> Mapping[str, list[Curve]]:
    """The curves that tell how it went, by title."""
    runs = {SRRESNET: "1-srresnet", RANKSRGAN: "5-ranksrgan", CONTROL: "6-control"}
    validations = {
        name: folder / place / "validation.csv"
        for name, place in runs.items()
        if (folder / place).is_dir()
    }
    further = {name: path for name, path in validations.items() if name != SRRESNET}
    first = {}
    if SRRESNET in validations:
        series = read_series(validations[SRRESNET], "psnr", SRRESNET)
        first = {"SRResNet: PSNR-Y of held-out photographs (dB)": [series]}
    return {
        **first,
        "Ranker: SROCC on its validation photographs": [
            read_series(folder / "4-ranker" / "validation.csv", "srocc", "over all crops"),
            read_series(
                folder / "4-ranker" / "validation.csv", "srocc_per_content", "within a crop"
            ),
        ],
        "NIQE of held-out photographs": [
            read_series(path, "niqe", name) for name, path in further.items()
        ],
        "PSNR-Y of held-out photographs (dB)": [
            read_series(path, "psnr", name) for name, path in further.items()
        ],
    }


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


def _picture(image: Tensor) -> Picture:
    return from_tensor(image[0])


def _number(value: float | None, places: int) -> str:
    return "-" if value is None else f"{value:.{places}f}"
