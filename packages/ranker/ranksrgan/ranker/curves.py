"""A run's curves: CSV for people and scripts, TensorBoard for the eye."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from ranksrgan.contracts import atomic
from ranksrgan.contracts.errors import InvalidDataset


class Curves:
    """Appends rows to ``curves.csv`` and scalars to a TensorBoard event file in ``folder``.

    Args:
        folder: of the run.
        columns: of the CSV, without ``step``; a row may leave cells empty.
        start: rows of later steps are dropped. They belong to an attempt that died after its last
            saved state, and will be written again.
    """

    def __init__(self, folder: Path, columns: tuple[str, ...], *, start: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import, and only used here

        self._path = folder / "curves.csv"
        self._columns = ("step", *columns)
        kept = [row for row in self._rows() if int(row["step"]) <= start]
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)
        atomic.write_text(self._path, text.getvalue())
        self._board = SummaryWriter(str(folder), purge_step=start + 1)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Write one row; every key is a column."""
        with self._path.open("a", newline="") as file:
            row = {"step": step, **{key: f"{value:.6g}" for key, value in values.items()}}
            csv.DictWriter(file, self._columns, lineterminator="\n").writerow(row)
        for key, value in values.items():
            self._board.add_scalar(key, value, step)

    def __enter__(self) -> Curves:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._board.close()

    def _rows(self) -> list[dict[str, str]]:
        if not self._path.is_file():
            return []
        with self._path.open(newline="") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != self._columns:
                raise InvalidDataset(
                    f"{self._path} has other columns than {', '.join(self._columns)}; move it away",
                    field=str(self._path),
                )
            # A kill can leave half of the last row.
            return [row for row in reader if None not in row.values() and row["step"].isdigit()]
