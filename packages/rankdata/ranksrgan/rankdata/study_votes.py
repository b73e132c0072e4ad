"""The votes that a study's ratings are of, summed over each pair of versions.

A dataset of votes that are rated by Bradley-Terry holds them beside its ratings, in
``comparisons.csv``::

    left,right,votes,for_left
    cat_bicubic,cat_srgan,24,7.5

Bradley-Terry asks for nothing else, so that the next run rates all votes at once.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from ranksrgan.contracts import atomic
from ranksrgan.contracts.errors import InvalidDataset
from ranksrgan.metrics import Vote
from ranksrgan.metrics.score_table import finite_number, read_rows_below

#: Of a dataset of votes, in its folder, beside its ratings.
COMPARISONS = "comparisons.csv"

_COLUMNS = ("left", "right", "votes", "for_left")
# Votes on one pair: more than any study has, and still little memory.
_MOST = 10**6


def read_comparisons(path: Path) -> list[Vote]:
    """Read a file that `write_comparisons` wrote: as many votes, with the mean outcome of a pair.

    Raises:
        InvalidDataset: not such a file, or a pair twice; the message begins with file and line.
    """
    votes: list[Vote] = []
    pairs: set[frozenset[str]] = set()
    for place, cells in read_rows_below(path, _COLUMNS, "comparisons"):
        number, outcome = _numbers(cells)
        pair = frozenset(cells[:2])
        if not number or len(pair - {""}) < 2 or pair in pairs:
            raise InvalidDataset(
                f"{place}: {','.join(cells)} is no comparison: {','.join(_COLUMNS)} of two items "
                "that have no other line, with one vote or more and 0 to all of them for the left",
                field=place,
            )
        pairs.add(pair)
        votes += [Vote(cells[0], cells[1], outcome)] * number
    if not votes:
        raise InvalidDataset(f"{path} holds no comparison", field=str(path))
    return votes


def write_comparisons(path: Path, votes: Iterable[Vote]) -> None:
    """Write the sums of votes, whole or not at all.

    Raises:
        DiskFull: there is no room for it.
    """
    sums: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0, 0.0])
    for left, right, outcome in votes:
        of_pair = sums[min(left, right), max(left, right)]
        of_pair[0] += 1
        of_pair[1] += outcome if left < right else 1 - outcome
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows([*pair, *of_pair] for pair, of_pair in sorted(sums.items()))
    atomic.write_text(path, file.getvalue())


def _numbers(cells: list[str]) -> tuple[int, float]:
    """How many votes a line is of, and their mean outcome; no votes if it is none."""
    if len(cells) != len(_COLUMNS) or not (cells[2].isascii() and cells[2].isdigit()):
        return 0, 0.0
    number, for_left = int(cells[2]), finite_number(cells[3])
    if for_left is None or not 0 <= for_left <= number or number > _MOST:
        return 0, 0.0
    return number, for_left / max(number, 1)
