"""What is told and kept of a training that broke down: what may help, and the batch of the step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ranksrgan.contracts.checkpoint import save_state
from ranksrgan.contracts.errors import DiskFull, TrainingDiverged
from ranksrgan.contracts.processes import Processes
from ranksrgan.srgan.data.crops import Batch
from ranksrgan.srgan.training.state import DISCRIMINATOR_FILE, GENERATOR_FILE, Training


def with_advice(
    error: TrainingDiverged, training: Training, folder: Path, *, bfloat16: bool
) -> TrainingDiverged:
    """The error with what may help.

    Another learning rate is another training, which the state on disk does not go on with: only
    its weights can begin one. Whoever trains at a service has names for folders, and none for
    files: the folder's stands for them.
    """
    rates = ["optimiser.generator_lr"]
    weights = [f"its {GENERATOR_FILE} as generator.weights"]
    if training.discriminator is not None:
        rates.append("optimiser.discriminator_lr")
        weights.append(f"its {DISCRIMINATOR_FILE} as discriminator.weights")
    cure = f"a lower {' and '.join(rates)}" + (" or run.precision=float32" if bfloat16 else "")
    if training.saved is None:
        advice = f"No state was saved yet: {folder} takes {cure}"
    else:
        advice = (
            f"{folder} keeps step {training.saved}: go on in another folder (at a service under "
            f"another name), with {', '.join(weights)} (there with its name) and {cure}"
        )
    return TrainingDiverged(f"{error}. {advice}", field=error.field)


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
    return TrainingDiverged(f"{error}. The images of step {step} are in {path}", field=error.field)
