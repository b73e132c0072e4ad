"""Training of a quality model on people's opinions."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.curves import Curves
from ranksrgan.contracts.device import choose_device, computes_in_bfloat16
from ranksrgan.contracts.errors import InvalidConfig, RequestCancelled
from ranksrgan.contracts.interruption import stop_requested
from ranksrgan.contracts.pairs import PairSource
from ranksrgan.contracts.provenance import write_run_record
from ranksrgan.contracts.training_folder import alone_in, check_folder, clear
from ranksrgan.contracts.usual_modes import usual_modes
from ranksrgan.ranker.quality.config import QualityConfig
from ranksrgan.ranker.quality.opinions import Opinions
from ranksrgan.ranker.quality.run import FILES, WEIGHTS_FILE, QualityEvaluation, QualityRun

SCORES = ("main", "srcc", "plcc")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class QualityResult:
    """What a training leaves.

    Attributes:
        weights: the best by NTIRE's main score on the validation source; the last without one.
        step: how many updates were made in all.
        best_step: after how many of them ``weights`` was written.
        evaluation: of ``weights`` on the validation source; None without one.
    """

    weights: Path
    step: int
    best_step: int
    evaluation: QualityEvaluation | None


@usual_modes()
def train_quality(
    config: QualityConfig,
    train_source: PairSource,
    val_source: PairSource | None,
    folder: Path | str,
    *,
    resume: bool = True,
    on_step: Callable[[int, float], None] | None = None,
) -> QualityResult:
    """Train a quality model; what is in ``folder`` is continued, on the CPU to the bit.

    ``folder`` receives ``quality.safetensors``, ``last.state.pt``, ``curves.csv``,
    ``validation.csv``, TensorBoard events, ``config.yaml`` and ``run.json``. SIGINT and SIGTERM let
    the current step finish and save it first; a validation is given up within one batch, and made
    up for by the run that continues. A second signal ends at once.

    Args:
        config: see `QualityConfig`.
        train_source: judged images with their references.
        val_source: images, of other references, to choose the best weights by.
        folder: of the run, made if need be.
        resume: False starts anew and removes what an earlier training has left in ``folder``.
        on_step: called after each step with the number of finished steps and the step's loss.

    Raises:
        InvalidCheckpoint: ``folder`` holds a training with another configuration or other data;
            ``start`` or ``backbone`` does not fit.
        InvalidConfig: no such device, a ``crop`` smaller than the model takes, or more than one
            process, started by ``torchrun``.
        InvalidInput: an option that the model does not have; another training is at work in
            ``folder``, or something else lies in it, see `check_folder`.
        InvalidDataset: no references, an image that is too small, a single image, or opinions that
            are all equal.
        TrainingDiverged: NaN or infinity; the last good state is kept.
        KeyboardInterrupt: a signal stopped it, and its last step is saved: the same call continues.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InvalidConfig(
            "WORLD_SIZE: a quality model is trained by one process; start it without torchrun",
            field="WORLD_SIZE",
        )
    folder = Path(folder)
    check_folder(folder, "a quality model", "model")
    device = choose_device(config.device)
    precision = "bfloat16" if computes_in_bfloat16(config.precision, device) else "float32"
    config = config.model_copy(update={"device": str(device), "precision": precision})
    learn = Opinions(train_source, "train")
    judge = None if val_source is None else Opinions(val_source, "val")
    prints = (train_source.info.fingerprint, val_source.info.fingerprint if val_source else "none")
    run = QualityRun(config, learn, judge, prints, folder, device)
    with ExitStack() as stack:
        stack.enter_context(alone_in(folder, FILES))
        if resume:
            run.restore()
        else:
            clear(folder, FILES)
        write_run_record(folder, config, config.seed)
        logger.info("training %s on %s, from step %d", config.model, device, run.step)
        stopping = stack.enter_context(stop_requested())
        scores = SCORES if judge else ()
        curves = stack.enter_context(
            Curves(
                folder,
                losses=("lr", "loss"),
                scores=scores,
                step=run.step,
                validated=run.validated,
            )
        )
        bar = stack.enter_context(
            tqdm(total=config.steps, initial=run.step, unit="step", disable=None)
        )
        while not run.complete:
            loss: float | None = None
            if not run.validation_is_due:  # else an earlier run was stopped in it
                loss = run.update()
                if row := run.row_if_due():
                    curves.losses(run.step, row)
                bar.update()
                bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
                if run.save_is_due and run.validation_is_due:
                    run.save()  # a kill in a validation, which may be long, loses no step
            _validate(run, stopping, curves)
            if run.save_is_due:
                run.save()
            try:
                cancellation.check()
                if on_step and loss is not None:
                    on_step(run.step, loss)
                if stopping():
                    raise KeyboardInterrupt
            except (KeyboardInterrupt, RequestCancelled):
                run.save()
                raise
    return QualityResult(folder / WEIGHTS_FILE, run.step, run.best_step, run.best)


def _validate(run: QualityRun, stopping: Callable[[], bool], curves: Curves) -> None:
    """Validate if it is due; where it is given up, the step is saved and it stays due."""
    if not run.validation_is_due:
        return
    try:
        with cancellation.scope(lambda: not stopping()):
            found = run.validate()
    except RequestCancelled:
        logger.info("stopped in the validation of step %d, which is left out", run.step)
        run.save()
        if stopping():
            raise KeyboardInterrupt from None
        raise
    curves.scores(run.step, {name: getattr(found, name) for name in SCORES})
