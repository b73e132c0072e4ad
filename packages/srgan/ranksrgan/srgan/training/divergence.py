"""Keeping the batch at which a training broke down, so that somebody can look at it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ranksrgan.contracts.checkpoint import save_state
from ranksrgan.contracts.errors import DiskFull, TrainingDiverged
from ranksrgan.contracts.processes import Processes
from ranksrgan.srgan.data.crops import Batch


def keep_batch(
    error: TrainingDiverged,
    folder: Path,
    step: int,
    batch: Batch,
    losses: Mapping[str, float],
    here: Processes,
) -> TrainingDiverged:
    """Write the joint batch of the step to ``diverged-step-N.pt``; the error names the file then.

    The file is for ``torch.load(..., weights_only=True)``: a dict with ``step``, ``message``,
    ``losses`` (as far as the step came) and the images ``lr`` and ``hr``, uint8 unless
    ``data.round`` is off. Every process calls this, the first one writes.
    """
    path = folder / f"diverged-step-{step}.pt"
    lr, hr = (here.joint(images.to(here.device)).cpu() for images in batch)
    content = {"step": step, "message": str(error), "losses": dict(losses), "lr": lr, "hr": hr}
    try:
        here.from_first(lambda: save_state(path, content))
    except DiskFull as full:
        return TrainingDiverged(f"{error}. Its batch is lost: {full}", field=error.field)
    return TrainingDiverged(f"{error}. The images of that step are in {path}", field=error.field)
