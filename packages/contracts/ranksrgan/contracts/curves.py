"""The curves of a training: CSV files always, TensorBoard if wanted.

Every training of the project writes ``curves.csv`` (losses) and ``validation.csv`` (scores), each
with a column ``step``, so that one reader serves them all.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from ranksrgan.contracts import atomic
from ranksrgan.contracts.errors import DiskFull

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class Curve:
    """One CSV file with a row a step.

    Args:
        path: of the file; rows beyond ``last`` are those of a run that was killed after its last
            checkpoint, and are dropped, since their steps are about to be repeated.
        columns: without ``step``, which comes first. Others that the rows have which count stay:
            a score that an earlier run could measure, and this one cannot.
        last: the last step whose row counts; below 0 none does.
    """

    def __init__(self, path: Path, columns: Sequence[str], last: int) -> None:
        kept = [row for row in read_curve(path) if int(row["step"]) <= last] if last >= 0 else []
        content = io.StringIO()
        fields = tuple(
            dict.fromkeys(("step", *columns, *(key for row in kept for key in row if key)))
        )
        writer = csv.DictWriter(content, fields, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(kept)
        atomic.write_text(path, content.getvalue())
        self._path = path
        self._file = path.open("a", newline="", encoding="utf-8")
        self._writer = csv.DictWriter(self._file, fields, restval="")

    def add(self, step: int, values: Mapping[str, float | None]) -> None:
        """Append a row; it is on its way to the disk when this returns.

        Raises:
            DiskFull: there is no room for it.
        """
        with atomic.room_for(self._path):
            self._writer.writerow({"step": step, **values})
            self._file.flush()

    def close(self) -> None:
        """Raises DiskFull: there is no room for what was not yet written."""
        with atomic.room_for(self._path):
            self._file.close()


def read_curve(path: Path) -> list[dict[str, str]]:
    """The complete rows of a curve's file, as text by column; none if there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        lines = [line for line in file if line.endswith("\n")]  # a kill may cut the last one short
    return [row for row in csv.DictReader(lines) if (row["step"] or "").isdigit()]


class Curves:
    """``curves.csv`` with the losses, ``validation.csv`` with the scores, TensorBoard with both.

    Args:
        folder: of the run.
        losses: columns of ``curves.csv``.
        scores: columns of ``validation.csv``; without any there is no such file.
        step: the step from which the run goes on; 0 starts anew.
        validated: the last step whose scores count, if it is not ``step``: a run that was killed
            in a validation repeats it.
        tensorboard: also write event files into ``folder/tensorboard``.
    """

    def __init__(
        self,
        folder: Path,
        *,
        losses: Sequence[str],
        scores: Sequence[str],
        step: int,
        validated: int | None = None,
        tensorboard: bool = True,
    ) -> None:
        last = step if step else -1
        self._losses = Curve(folder / "curves.csv", losses, last)
        # The scores before the first step are part of a run that goes on.
        self._scores: Curve | None = None
        if scores:
            last = last if validated is None else validated
            self._scores = Curve(folder / "validation.csv", scores, last)
        self._board: SummaryWriter | None = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter  # slow to import

            self._board = SummaryWriter(
                str(folder / "tensorboard"), purge_step=step + 1 if step else None
            )

    def losses(self, step: int, values: Mapping[str, float]) -> None:
        """Add a row of ``curves.csv``."""
        self._losses.add(step, values)
        self._show("train", step, values)

    def scores(self, step: int, values: Mapping[str, float | None]) -> None:
        """Add a row of ``validation.csv``."""
        if self._scores is not None:
            self._scores.add(step, values)
        self._show("validation", step, values)

    def _show(self, group: str, step: int, values: Mapping[str, float | None]) -> None:
        if self._board is not None:
            for name, value in values.items():
                if value is not None:
                    self._board.add_scalar(f"{group}/{name}", value, step)

    def __enter__(self) -> Curves:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with ExitStack() as closing:
            if error is not None:  # it is the one to hear of; a full disk is full once more
                closing.enter_context(suppress(OSError, DiskFull))
            if self._board is not None:
                closing.callback(self._board.close)
            if self._scores is not None:
                closing.callback(self._scores.close)
            closing.callback(self._losses.close)
