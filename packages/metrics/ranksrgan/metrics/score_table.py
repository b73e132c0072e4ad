"""Tables of scores by image: CSV files, and the label files of PIPAL.

    image,niqe,ssim           a header, whose first column names the images
    sr/astronaut.png,7.1510,0.8429

    A0001_00_00.bmp,1485.16   or none: PIPAL's labels and NTIRE's submissions

    5.51429 I01_01_1.bmp      or the other way round: TID2013's mos_with_names.txt

A folder stands for all its ``.txt`` and ``.csv`` files (PIPAL's ``Train_Label``), those hidden by a
dot left out. Images are known by their file name without folder and image suffix, so that
``sr/A0001_00_00.png`` is ``A0001_00_00``. Those of TID2013's form are known in lower case, as their
files are not written as the list writes them.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path, PurePosixPath

from ranksrgan.contracts.errors import InvalidDataset
from ranksrgan.contracts.images import SUFFIXES


@dataclass(frozen=True)
class Row:
    """One line of a CSV file.

    Attributes:
        place: ``file:line``, for messages.
        cells: by column.
    """

    place: str
    cells: Mapping[str, str]


def read_scores(path: Path, column: str | None = None) -> dict[str, float]:
    """Scores by image.

    Args:
        path: a file or folder; see the module's head.
        column: which one; None if only one holds numbers.

    Raises:
        InvalidDataset: not such a table, an image twice, or a score that is not a finite number;
            the message begins with file and line.
    """
    table = read_table(path)
    column = column or _only_column(path, table)
    scores = {}
    for name, (place, text) in _cells(table, column).items():
        score = finite_number(text)
        if score is None:
            raise InvalidDataset(
                f"{place}: the {column} of {name} is {text!r}, not a finite number", field=place
            )
        scores[name] = score
    return scores


def read_column(path: Path, column: str) -> dict[str, str]:
    """A column by image, as text.

    Raises:
        InvalidDataset: there is no such column, an empty cell, or what `read_table` raises.
    """
    texts = {}
    for name, (place, text) in _cells(read_table(path), column).items():
        if not text:
            raise InvalidDataset(f"{place}: the {column} of {name} is empty", field=place)
        texts[name] = text
    return texts


def read_table(path: Path) -> dict[str, Row]:
    """The lines of a file, or of all files of a folder, by image.

    Raises:
        InvalidDataset: not such a table, empty, or an image twice.
    """
    files = [path]
    if path.is_dir():
        files = sorted(
            file
            for file in path.iterdir()
            if file.suffix.lower() in {".txt", ".csv"} and not file.name.startswith(".")
        )
    table: dict[str, Row] = {}
    for file in files:
        for text, row in _rows_by_image(file):
            name = image_name(text)
            if name in table:
                raise InvalidDataset(
                    f"{row.place}: {name} is there already ({table[name].place})", field=row.place
                )
            table[name] = row
    if not table:
        raise InvalidDataset(f"{path} holds no line of scores", field=str(path))
    return table


def in_lower_case(path: Path) -> bool:
    """Whether a file has TID2013's form, whose images are known in lower case; a folder never has,
    and of a pipe, which is read once, it is not known.

    Raises:
        InvalidDataset: see `read_rows`.
    """
    first = next(read_rows(path), None) if path.is_file() else None
    return first is not None and _is_turned(first[1])


def read_rows(path: Path) -> Iterator[tuple[str, list[str]]]:
    """The lines of a CSV file that are not blank, each with its place (``file:line``).

    Raises:
        InvalidDataset: the file cannot be read as CSV in UTF-8.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            for cells in reader:
                if any(cells):
                    yield f"{path}:{reader.line_num}", [cell.strip() for cell in cells]
    except OSError as error:
        raise InvalidDataset(f"{path}: {error.strerror}", field=str(path)) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidDataset(f"{path} is not CSV in UTF-8: {error}", field=str(path)) from error


def read_rows_below(
    path: Path, columns: Sequence[str], what: str
) -> Iterator[tuple[str, list[str]]]:
    """`read_rows` below a first line that has to name exactly these columns, in this order.

    Args:
        path: of the file.
        columns: of it.
        what: it is a file of, for the message.

    Raises:
        InvalidDataset: see `read_rows`, or the first line is another one.
    """
    rows = read_rows(path)
    for place, cells in islice(rows, 1):
        if cells != list(columns):
            raise InvalidDataset(
                f"{place}: the first line of a file of {what} is {','.join(columns)}", field=place
            )
    yield from rows


def image_name(text: str) -> str:
    """What an image is known by: its file name without folder and image suffix."""
    return without_suffix(without_folder(text))


def without_folder(text: str) -> str:
    """The last part of a name in which there may be folders, of Windows too."""
    return PurePosixPath(text.replace("\\", "/")).name


def without_suffix(text: str) -> str:
    """A name as it is, with its folders, but for the suffix of an image."""
    return text.removesuffix(PurePosixPath(text).suffix) if _is_image_file(text) else text


def _rows_by_image(file: Path) -> Iterator[tuple[str, Row]]:
    """The first cell of each line, and the others by column."""
    columns: list[str] | None = None
    lines = read_rows(file)
    first = list(islice(lines, 1))
    lines = chain(first, lines)
    if first and _is_turned(first[0][1]):
        lines = ((place, _turned(place, cells)) for place, cells in lines)
    for place, cells in lines:
        if columns is None:
            if not _is_number(cells[-1]) and not _is_image_file(cells[0]):
                columns = cells
                if len(columns) == 1:
                    raise InvalidDataset(
                        f"{place}: there is one column, {columns[0]!r:.60}; commas are wanted "
                        "between the image and its scores",
                        field=place,
                    )
                if len(set(columns)) != len(columns):
                    raise InvalidDataset(f"{place}: two columns of one name", field=place)
                continue
            columns = ["image", "score"]
        if len(cells) != len(columns):
            raise InvalidDataset(
                f"{place}: {len(cells)} cells where {','.join(columns)} are wanted", field=place
            )
        if not cells[0]:
            raise InvalidDataset(f"{place}: the image has no name", field=place)
        yield cells[0], Row(place, dict(zip(columns[1:], cells[1:], strict=True)))


def _is_turned(cells: list[str]) -> bool:
    """Whether a line is as TID2013 has them: the score, a space and the image."""
    words = cells[0].split() if len(cells) == 1 else []
    return len(words) == 2 and finite_number(words[0]) is not None and _is_image_file(words[1])


def _turned(place: str, cells: list[str]) -> list[str]:
    if not _is_turned(cells):
        raise InvalidDataset(
            f"{place}: {','.join(cells)!r:.60} is not a score and the name of an image", field=place
        )
    score, image = cells[0].split()
    return [image.lower(), score]


def _is_image_file(text: str) -> bool:
    return PurePosixPath(text).suffix.lower() in SUFFIXES


def _cells(table: Mapping[str, Row], column: str) -> dict[str, tuple[str, str]]:
    """The place and the text of a column, by image."""
    for row in table.values():
        if column not in row.cells:
            raise InvalidDataset(
                f"{row.place}: there is no column {column!r}, only {', '.join(row.cells)}",
                field=row.place,
            )
    return {name: (row.place, row.cells[column]) for name, row in table.items()}


def _only_column(path: Path, table: Mapping[str, Row]) -> str:
    first = next(iter(table.values()))
    if len(first.cells) == 1:
        return next(iter(first.cells))
    numbers = [column for column, text in first.cells.items() if finite_number(text) is not None]
    if len(numbers) != 1:
        raise InvalidDataset(
            f"{path} has {len(numbers)} columns of numbers ({', '.join(numbers) or 'none'}): say "
            "which one is meant",
            field=str(path),
        )
    return numbers[0]


def _is_number(text: str) -> bool:
    """Whether a cell is a number, finite or not (``nan`` is a score that is none, no column)."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def finite_number(text: str) -> float | None:
    """The number that a cell is; None if it is none, or not finite.

    ``1_0`` and the digits of other scripts, which Python reads, are none in a table.
    """
    if "_" in text or not text.isascii():
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
