"""Enlarging files and folders.

All that can be known before the work starts is decided then: which file becomes which, that no two
become the same, and that none replaces an input. After that every file stands for itself: one that
cannot be done is reported and the rest goes on, nothing is held in memory from one to the next, and
a result appears under its name whole or not at all.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2

from ranksrgan.contracts.errors import InternalError, InvalidInput, RankSRGANError, RequestCancelled
from ranksrgan.contracts.images import (
    MAX_PIXELS,
    SUFFIXES,
    Picture,
    list_images,
    read_image,
    write_image,
)
from ranksrgan.contracts.upscaler import Upscaler
from ranksrgan.srgan.picture import upscale_picture

log = logging.getLogger(__name__)

#: What a result may be stored as; ``keep`` is the input's own format.
FORMATS = ("keep", "png", "jpg", "webp", "tif")

_DEEP_SUFFIXES = frozenset({".png", ".tif", ".tiff"})
_TRANSPARENT_SUFFIXES = frozenset({".png", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True)
class Job:
    """One file to enlarge, and where the result goes."""

    input: Path
    output: Path


@dataclass(frozen=True)
class Entry:
    """What became of one input.

    Attributes:
        input: as it was given, or found in a folder that was given.
        output: the file that is there now; None if there is none.
        skipped: True if it was there before.
        error: code of the error (``"INVALID_IMAGE"``); None if there was none.
        message: of the error.
    """

    input: str
    output: str | None = None
    skipped: bool = False
    error: str | None = None
    message: str | None = None


@dataclass(frozen=True)
class Plan:
    """What is to be done, and the inputs for which that is already known to be impossible."""

    jobs: list[Job]
    failed: list[Entry]


@dataclass(frozen=True)
class Report:
    """What became of every input."""

    entries: list[Entry]

    @property
    def failed(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.error is not None]

    def to_json(self) -> dict[str, Any]:
        """``{"files": [...], "done": n, "skipped": n, "failed": n}``."""
        skipped = sum(entry.skipped for entry in self.entries)
        failed = len(self.failed)
        return {
            "files": [asdict(entry) for entry in self.entries],
            "done": len(self.entries) - skipped - failed,
            "skipped": skipped,
            "failed": failed,
        }


def upscale_files(
    inputs: Sequence[Path],
    output: Path,
    upscaler: Upscaler,
    *,
    suffix: str = "",
    format: str = "keep",
    quality: int = 95,
    skip_existing: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> Report:
    """Enlarge files and folders of files: `plan_files`, then `run_jobs`."""
    plan = plan_files(inputs, output, suffix=suffix, format=format)
    done = run_jobs(
        plan.jobs, upscaler, quality=quality, skip_existing=skip_existing, max_pixels=max_pixels
    )
    return Report([*plan.failed, *done])


def plan_files(
    inputs: Sequence[Path], output: Path, *, suffix: str = "", format: str = "keep"
) -> Plan:
    """Decide which file becomes which, without touching one.

    Args:
        inputs: image files, and folders whose images (directly in them) are meant.
        output: a folder. With a single file as input it may also be the name of the result, which
            then decides the format.
        suffix: goes between an input's name and its ending: ``"_x4"``.
        format: one of `FORMATS`.

    Raises:
        InvalidInput: two inputs would become the same file, or a result would replace an input;
            also for an unknown format, or a ``suffix`` that is no part of a name.
    """
    if format not in FORMATS:
        raise InvalidInput(
            f"there is no format {format!r}: it is one of {', '.join(FORMATS)}", field="format"
        )
    if Path(f"x{suffix}").name != f"x{suffix}":
        raise InvalidInput(f"{suffix!r} cannot be part of a file's name", field="suffix")
    inputs, output = [Path(path) for path in inputs], Path(output)
    if len(inputs) == 1 and not inputs[0].is_dir() and _names_a_file(output):
        if suffix or format != "keep":
            raise InvalidInput(
                f"{output} is the name of the result; leave out suffix and format, or give a "
                "folder",
                field="output",
            )
        jobs = [Job(inputs[0], output)]
        failed: list[Entry] = []
    else:
        if output.exists() and not output.is_dir():
            raise InvalidInput(f"{output} is a file; give a folder", field="output")
        jobs, failed = _jobs_in_folder(inputs, output, suffix, format)
    _refuse_collisions(jobs)
    return Plan(jobs, failed)


def run_jobs(
    jobs: Sequence[Job],
    upscaler: Upscaler,
    *,
    quality: int = 95,
    skip_existing: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> Iterator[Entry]:
    """Do one job after the other; an entry comes when its file is written, skipped or given up.

    Args:
        jobs: from `plan_files`.
        upscaler: for the colour.
        quality: of JPEG and WebP, 1 to 100.
        skip_existing: leave results alone that are there already. They are whole: no half file ever
            has a result's name.
        max_pixels: of an input.

    Raises:
        RequestCancelled: nobody waits for the results any more. All other errors become entries.
    """
    for job in jobs:
        entry = Entry(str(job.input))
        if skip_existing and job.output.exists():
            yield replace(entry, output=str(job.output), skipped=True)
            continue
        try:
            _upscale_file(job, upscaler, quality, max_pixels)
        except RequestCancelled:
            raise
        except RankSRGANError as error:
            yield replace(entry, error=error.code, message=_naming(job.input, str(error)))
        except Exception as error:  # whatever it is, the next file shall have its turn
            log.exception("%s", job.input)
            message = f"{job.input}: {type(error).__name__}: {error}"
            yield replace(entry, error=InternalError.code, message=message)
        else:
            yield replace(entry, output=str(job.output))


def _upscale_file(job: Job, upscaler: Upscaler, quality: int, max_pixels: int) -> None:
    picture = _storable(read_image(job.input, max_pixels=max_pixels), job.output)
    depth = None if job.output.suffix.lower() in _DEEP_SUFFIXES else 255
    enlarged = upscale_picture(picture, upscaler, depth=depth)
    try:
        write_image(job.output, enlarged, quality=quality)
    except OSError as error:
        raise InvalidInput(
            f"{job.output} cannot be written: {error.strerror}", field=str(job.output)
        ) from error
    except cv2.error as error:
        raise InvalidInput(
            f"{job.output}: the format cannot hold {enlarged.width} x {enlarged.height} pixels; "
            "use png or tif",
            field=str(job.output),
        ) from error


def _storable(picture: Picture, output: Path) -> Picture:
    """Refuse before the work what could not be stored after it."""
    if picture.alpha is None or output.suffix.lower() in _TRANSPARENT_SUFFIXES:
        return picture
    if bool((picture.alpha == picture.depth).all()):
        return replace(picture, alpha=None)
    raise InvalidInput(
        f"{output.suffix} cannot hold transparency: use the format png, tif or webp",
        field=str(output),
    )


def _names_a_file(output: Path) -> bool:
    return output.suffix.lower() in SUFFIXES and not output.is_dir()


def _jobs_in_folder(
    inputs: list[Path], output: Path, suffix: str, format: str
) -> tuple[list[Job], list[Entry]]:
    jobs, failed = [], []
    seen: set[Path] = set()
    for given in inputs:
        try:
            files = list_images(given) if given.is_dir() else [given]
        except (InvalidInput, OSError) as error:
            message = _naming(given, str(error))
            failed.append(Entry(str(given), error=InvalidInput.code, message=message))
            continue
        for file in files:
            if file.resolve() in seen:  # named twice, or named and in a folder that is named
                continue
            seen.add(file.resolve())
            ending = file.suffix if format == "keep" else f".{format}"
            if ending.lower() in SUFFIXES:
                jobs.append(Job(file, output / f"{file.stem}{suffix}{ending}"))
                continue
            message = f"{file}: cannot keep the format of {ending or 'a name without ending'}"
            failed.append(Entry(str(file), error=InvalidInput.code, message=message))
    return jobs, failed


def _refuse_collisions(jobs: list[Job]) -> None:
    sources = {job.input.resolve() for job in jobs}
    made_from: dict[Path, Path] = {}
    for job in jobs:
        target = job.output.resolve()
        if target in sources:
            raise InvalidInput(
                f"{job.output} is an input and would be replaced: choose another folder, or a "
                "suffix",
                field="output",
            )
        if target in made_from:
            raise InvalidInput(
                f"{made_from[target]} and {job.input} would both become {job.output}: enlarge them "
                "into different folders",
                field="output",
            )
        made_from[target] = job.input


def _naming(path: Path, message: str) -> str:
    return message if str(path) in message else f"{path}: {message}"
