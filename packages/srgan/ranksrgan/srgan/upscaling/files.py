"""Which file becomes which, decided before the work starts.

No two inputs become the same file, no result replaces an input, and what lies below a folder lies
at the same place below the output.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.images import SUFFIXES

#: What a result may be stored as; ``keep`` is the input's own format.
FORMATS = ("keep", "png", "jpg", "webp", "tif")

# Endings of images that are never written; and what else looks like a format's.
_OTHER_IMAGES = frozenset(
    f".{name}"
    for name in (
        *("apng", "avif", "dng", "exr", "gif", "heic", "heif", "ico", "jfif", "jp2", "jpe", "jxl"),
        *("cr2", "cr3", "nef", "arw", "pbm", "pgm", "pnm", "ppm", "psd", "svg", "tga"),
    )
)
_ENDING = re.compile(r"\.[a-z]{2,4}")


@dataclass(frozen=True)
class Job:
    """One file to enlarge, and where the result goes."""

    input: Path
    output: Path


@dataclass(frozen=True)
class Unplanned:
    """An input for which it is known before the work that it cannot be done.

    Attributes:
        input: as it was given, or found in a folder that was given.
        message: why.
    """

    input: Path
    message: str


@dataclass(frozen=True)
class Plan:
    """What is to be done, and what cannot be."""

    jobs: list[Job]
    failed: list[Unplanned]


def plan_files(
    inputs: Sequence[Path],
    output: Path | str,
    *,
    suffix: str = "",
    format: str = "keep",
    skip_existing: bool = False,
) -> Plan:
    """Decide which file becomes which, without touching one.

    Args:
        inputs: image files, and folders, of which the images at any depth are meant. Hidden files
            and folders are passed over, links to folders are not followed, and the output is never
            an input of its own. A folder in them that cannot be read fails, and the rest goes on.
        output: a folder. With a single file as input it may also be the name of the result, which
            then decides the format; as a text that ends in a slash it is a folder always.
        suffix: goes between an input's name and its ending: ``"_x4"``.
        format: one of `FORMATS`.
        skip_existing: results that are there already stay as they are. An input by whose name
            another one's result would go is such a result, and so none of the inputs: a run that
            writes beside its inputs, with a suffix, goes on where it was stopped.

    Returns:
        The jobs, in the order of ``inputs`` and within a folder by name.

    Raises:
        InvalidInput: two inputs would become the same file, or a result would replace an input;
            also for an unknown format, a ``suffix`` that is no part of a name, or what `check_name`
            refuses.
    """
    if format not in FORMATS:
        raise InvalidInput(
            f"there is no format {format!r}: it is one of {', '.join(FORMATS)}", field="format"
        )
    if Path(f"x{suffix}").name != f"x{suffix}":
        raise InvalidInput(f"{suffix!r} cannot be part of a file's name", field="suffix")
    check_name(inputs, output)
    names_a_file = _is_single(inputs) and _names_a_file(output)
    inputs, output = [Path(path) for path in inputs], Path(output)
    if names_a_file:
        if suffix or format != "keep":
            raise InvalidInput(
                f"{output} is the name of the result; leave out suffix and format, or give a "
                "folder",
                field="output",
            )
        plan = Plan([Job(inputs[0], output)], [])
    else:
        if os.path.lexists(output) and not _is_folder(output):
            raise InvalidInput(f"{output} is a file; give a folder", field="output")
        plan = _plan_folder(inputs, output, suffix, format)
        if skip_existing and suffix:
            results = {_entry(job.output) for job in plan.jobs}
            plan = Plan([job for job in plan.jobs if _entry(job.input) not in results], plan.failed)
    _refuse_collisions(plan.jobs, suffix, skip_existing)
    return plan


def check_name(inputs: Sequence[Path], output: Path | str) -> None:
    """Refuse to make a folder of a name that was meant for a file.

    A folder that is there, or a text that ends in a slash, may have any name. Else an ending of an
    image format is taken for a file's. With a single file as input so is every one of two to four
    letters (``out.xyz``), but not ``results.v2``, ``set.x4`` and ``photos.large``.

    Args:
        inputs, output: see `plan_files`.

    Raises:
        InvalidInput: for a single file the format is none that is written, else a folder is needed.
    """
    if _says_folder(output):
        return
    ending, single = Path(output).suffix.lower(), _is_single(inputs)
    is_image = ending in SUFFIXES or ending in _OTHER_IMAGES
    if not single and is_image:
        given = f"{len(inputs)} inputs need" if len(inputs) > 1 else f"{inputs[0]} needs"
        wrong = f"{given} a folder"
    elif single and ending not in SUFFIXES and (is_image or _ENDING.fullmatch(ending)):
        wrong = "results are PNG, JPEG, WebP, TIFF or BMP"
    else:
        return
    advice = "" if os.path.lexists(output) else f"; for a folder of that name write {output}/"
    raise InvalidInput(f"{output}: {wrong}{advice}", field="output")


def find_images(
    folder: Path, on_error: Callable[[OSError], object], *, except_in: Path | None = None
) -> Iterator[Path]:
    """Image files in ``folder`` and the folders below it, by name, folders last.

    Args:
        folder: where to look; links to folders in it are not followed.
        on_error: is told of each folder that cannot be read; the others go on.
        except_in: a folder that is passed over.
    """
    try:
        with os.scandir(folder) as entries:
            found = sorted((e.name, e.is_dir(follow_symlinks=False)) for e in entries)
    except OSError as error:
        on_error(error)
        return
    subfolders = []
    for name, is_folder in found:
        path = folder / name
        if name.startswith("."):
            continue
        if is_folder:
            if not (except_in and _is_same(path, except_in)):
                subfolders.append(path)
        elif path.suffix.lower() in SUFFIXES and not _is_folder(path):
            yield path
    for subfolder in subfolders:
        yield from find_images(subfolder, on_error, except_in=except_in)


def _is_folder(path: Path) -> bool:
    """A name that is too long, or may not be looked up, is none; it fails when its turn comes."""
    try:
        return path.is_dir()
    except OSError:
        return False


# Path.resolve, unlike realpath, stumbles over a link that leads to itself.
def _is_same(path: Path, other: Path) -> bool:
    return os.path.realpath(path) == os.path.realpath(other)


def _entry(path: Path) -> Path:
    """The one name of a file in its folder. A link to a file is a file of its own."""
    return Path(os.path.realpath(path.parent), path.name)


def _says_folder(output: Path | str) -> bool:
    return str(output).endswith(os.sep) or _is_folder(Path(output))  # a Path has no slash there


def _is_single(inputs: Sequence[Path]) -> bool:
    return len(inputs) == 1 and not _is_folder(Path(inputs[0]))


def _names_a_file(output: Path | str) -> bool:
    return Path(output).suffix.lower() in SUFFIXES and not _says_folder(output)


def _why_not_there(path: Path) -> str | None:
    try:
        path.stat()
    except OSError as error:
        return f"{path}: {error.strerror}"
    return None


def _plan_folder(inputs: list[Path], output: Path, suffix: str, format: str) -> Plan:
    plan = Plan([], [])
    seen: set[Path] = set()

    def unreadable(error: OSError) -> None:
        message = f"{error.filename}: {error.strerror}"
        plan.failed.append(Unplanned(Path(error.filename), message))

    for given in inputs:
        is_folder, failed_before = _is_folder(given), len(plan.failed)
        folder = given if is_folder else given.parent
        files = list(find_images(given, unreadable, except_in=output)) if is_folder else [given]
        if not files and len(plan.failed) == failed_before:
            known = ", ".join(sorted(SUFFIXES))
            plan.failed.append(Unplanned(given, f"{given} holds no image ({known})"))
        for file in files:
            if _entry(file) in seen:  # named twice, or named and in a folder that is named
                continue
            seen.add(_entry(file))
            ending = file.suffix if format == "keep" else f".{format}"
            if ending.lower() not in SUFFIXES:
                message = f"{file}: cannot keep the format of {ending or 'a name without ending'}"
                plan.failed.append(Unplanned(file, _why_not_there(file) or message))
                continue
            place = output / file.relative_to(folder).parent
            plan.jobs.append(Job(file, place / f"{file.stem}{suffix}{ending}"))
    return plan


def _refuse_collisions(jobs: list[Job], suffix: str, skip_existing: bool) -> None:
    advice = "choose another folder, or a suffix"
    if suffix and not skip_existing:
        advice += "; if it is the result of an earlier run, skip existing ones"
    elif skip_existing and not suffix:
        advice += ", without which existing results cannot be told from inputs and skipped"
    sources = {os.path.realpath(job.input) for job in jobs}
    made_from: dict[Path, Path] = {}
    for job in jobs:
        if os.path.realpath(job.output) in sources:
            raise InvalidInput(
                f"{job.output} is an input and would be replaced: {advice}", field="output"
            )
        target = _entry(job.output)
        if target in made_from:
            raise InvalidInput(
                f"{made_from[target]} and {job.input} would both become {job.output}: rename "
                "one of them, or enlarge them into different folders",
                field="output",
            )
        made_from[target] = job.input
