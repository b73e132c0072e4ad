"""Training of a Ranker (section 4.2 of the paper).

All versions of all contents of a batch go through the network in one concatenated forward pass, so
that BatchNorm normalises them together. The published code passes the first and the second members
of its pairs separately and always puts the better level first; then each branch is normalised by
itself and the network can tell the branches apart without ever looking at quality.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.curves import Curves
from ranksrgan.contracts.device import computes_in_bfloat16
from ranksrgan.contracts.errors import (
    DeadlineExceeded,
    InvalidDataset,
    RankSRGANError,
    RequestCancelled,
    ServiceUnavailable,
    UndefinedScore,
)
from ranksrgan.contracts.interruption import stop_requested
from ranksrgan.contracts.pairs import PairSource
from ranksrgan.contracts.processes import Processes, processes
from ranksrgan.contracts.provenance import write_run_record
from ranksrgan.contracts.training_folder import alone_in, check_folder, clear
from ranksrgan.contracts.usual_modes import usual_modes
from ranksrgan.ranker.batches import Batch, prefetched, read_batches
from ranksrgan.ranker.config import TrainConfig
from ranksrgan.ranker.evaluate import RankEvaluation
from ranksrgan.ranker.gap import check_gap
from ranksrgan.ranker.held_out import check_held_out
from ranksrgan.ranker.run import SCORES, WEIGHTS_FILE, Run
from ranksrgan.ranker.shown import check_shown
from ranksrgan.ranker.state import STATE_FILE

LOSSES = ("lr", "loss", "accuracy")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    """What a training leaves.

    Attributes:
        weights: the best Ranker by validation; without validation the last.
        step: how many updates were made in all; fewer than wanted where patience ended.
        best_step: after how many of them ``weights`` was written.
        evaluation: of ``weights`` on the validation source; None without one.
    """

    weights: Path
    step: int
    best_step: int
    evaluation: RankEvaluation | None


@usual_modes()
def train(
    config: TrainConfig,
    train_source: PairSource,
    val_source: PairSource | None,
    folder: Path | str,
    *,
    begin_from: Path | None = None,
    resume: bool = True,
    on_step: Callable[[int, float], None] | None = None,
    on_best: Callable[[int, RankEvaluation], None] | None = None,
) -> TrainResult:
    """Train a Ranker; what is in ``folder`` is continued, on the CPU to the bit.

    ``folder`` receives ``ranker.safetensors`` (the best weights by SROCC per content, or by global
    SROCC where no content has an order; the last weights without ``val_source``),
    ``last.state.pt``, ``curves.csv``, ``validation.csv``, TensorBoard events, ``config.yaml`` and
    ``run.json``. SIGINT and SIGTERM let the current step finish and save it first; a validation is
    given up within one batch, and made up for by the run that continues. A second signal ends at
    once. Started by ``torchrun``, the processes share each batch, and the first of them writes and
    validates.

    Args:
        config: see `TrainConfig`.
        train_source: ranked images to learn from.
        val_source: contents to choose the best weights by.
        folder: of the run, made if need be.
        begin_from: a Ranker of the architecture that ``config`` says; a file, or the name of a
            shipped one. None begins from random weights.
        resume: False starts anew and removes what an earlier training has left in ``folder``.
        on_step: called after each step, and after its state is saved if it is, with the number of
            finished steps and the step's loss.
        on_best: called, before ``on_step`` is, with each evaluation that is better than all before
            it and with the step that it belongs to; and with the best so far where a training is
            continued.

    Raises:
        InvalidCheckpoint: ``folder`` holds a training with another configuration or other data, or
            ``begin_from`` another network than ``config`` says.
        InvalidConfig: the batch does not divide by the processes; no such device; ``crop`` or
            ``jitter`` leave less than the network takes, see `check_shown`; ``min_gap`` leaves no
            pair, see `check_gap`.
        InvalidInput: another training is at work in ``folder``, or something else lies in it, see
            `check_folder`.
        InvalidDataset: a source has nothing to learn from, or contradicts itself, see
            `read_batches`; or ``val_source`` cannot choose weights, see `check_held_out`.
        TrainingDiverged: NaN or infinity; the last good state is kept.
        ServiceUnavailable, DeadlineExceeded, RequestCancelled: in a validation a remote source has
            gone, or nobody waits any more; the step is saved first.
        UndefinedScore: a validation meets a score that is not finite; the step is saved first.
        RankSRGANError: whatever ``train_source`` raises when it is read; the steps made so far are
            saved first.
        KeyboardInterrupt: a signal stopped it, and its last step is saved: the same call continues.
    """
    folder = Path(folder)
    with ExitStack() as stack:
        here = stack.enter_context(processes(config.device))
        here.from_first(lambda: check_folder(folder, "a Ranker", "width"))
        precision = "bfloat16" if computes_in_bfloat16(config.precision, here.device) else "float32"
        device = here.device.type if here.count > 1 else str(here.device)
        config = config.model_copy(update={"device": device, "precision": precision})
        run = Run(config, train_source, val_source, folder, here, begin_from)
        files = (STATE_FILE, WEIGHTS_FILE)
        here.from_first(lambda: stack.enter_context(alone_in(folder, files)))
        if resume:
            run.restore()
        if val_source is not None and not run.complete:
            held_out = val_source
            here.from_first(lambda: check_held_out(config, train_source.info, held_out))
        if not run.complete:
            here.from_first(lambda: check_shown(config, train_source))
        batches = read_batches(
            train_source, config, start=run.step, rank=here.rank, processes=here.count
        )
        if not run.complete:
            here.from_first(lambda: check_gap(config, train_source))
        if here.first:
            if not resume:
                clear(folder, files)
            write_run_record(folder, config, config.seed)
        logger.info("training on %s in %s, from step %d", here.device, precision, run.step)
        scores = SCORES if val_source else ()
        _continue(run, config, batches, scores, folder, here, on_step, on_best)
        return TrainResult(folder / WEIGHTS_FILE, run.step, run.best_step, run.best)


def _continue(
    run: Run,
    config: TrainConfig,
    batches: Iterator[Batch],
    scores: Sequence[str],
    folder: Path,
    here: Processes,
    on_step: Callable[[int, float], None] | None,
    on_best: Callable[[int, RankEvaluation], None] | None,
) -> None:
    with ExitStack() as stack:
        stopping = stack.enter_context(stop_requested())
        ready = stack.enter_context(prefetched(batches, pin=here.device.type == "cuda"))
        curves = bar = None
        if here.first:
            curves = stack.enter_context(
                Curves(folder, losses=LOSSES, scores=scores, step=run.step, validated=run.validated)
            )
            bar = stack.enter_context(
                tqdm(total=config.steps, initial=run.step, unit="step", disable=None)
            )
        if on_best and run.best:
            on_best(run.best_step, run.best)
        while not run.complete:
            loss: float | None = None
            if not run.validation_is_due:  # else an earlier run was stopped in it
                loss = run.update(_next(ready, run, here))
                _write_row(run, curves)
                if bar is not None:
                    bar.update()
                    bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
                if run.save_is_due and run.validation_is_due:
                    run.save()  # a kill in a validation, which may be long, loses no step
            stop = _validate(run, here, stopping, curves, on_best)
            if stop is None:
                _write_row(run, curves)
                if run.save_is_due:
                    run.save()
                try:
                    cancellation.check()
                    if on_step and loss is not None:
                        on_step(run.step, loss)
                    if stopping():
                        stop = KeyboardInterrupt()
                except (KeyboardInterrupt, RequestCancelled) as error:
                    stop = error
            if here.any(stop is not None):
                run.save()
                raise stop or KeyboardInterrupt


def _next(ready: Iterator[Batch], run: Run, here: Processes) -> Batch:
    """The next batch; where it fails in one process it does in all, and no step is lost."""
    try:
        return here.together(lambda: next(ready))
    except RankSRGANError:
        if run.step > run.begun_at:
            run.save()
        raise


def _write_row(run: Run, curves: Curves | None) -> None:
    row = run.row_if_due()
    if row and curves:
        curves.losses(run.step, row)


def _validate(
    run: Run,
    here: Processes,
    stopping: Callable[[], bool],
    curves: Curves | None,
    on_best: Callable[[int, RankEvaluation], None] | None,
) -> BaseException | None:
    """Validate if it is due; what it was stopped by, in all processes, where it stays due."""
    if not run.validation_is_due:
        return None
    try:
        with cancellation.scope(lambda: not stopping()):
            found = run.validate()
    except (
        ServiceUnavailable,
        DeadlineExceeded,
        RequestCancelled,
        UndefinedScore,
        InvalidDataset,
    ) as error:
        logger.info("stopped in the validation of step %d, which is left out", run.step)
        return KeyboardInterrupt() if here.any(stopping()) else error
    if curves:
        curves.scores(run.step, found)
    if on_best and run.best and run.best_step == run.step:
        on_best(run.best_step, run.best)
    return None
