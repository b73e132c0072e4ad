"""Training a generator: SRResNet, SRGAN and RankSRGAN differ in their losses' weights alone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from ranksrgan.contracts.errors import (
    DiskFull,
    InvalidConfig,
    RankSRGANError,
    TrainingDiverged,
)
from ranksrgan.contracts.interruption import stop_requested
from ranksrgan.contracts.processes import processes
from ranksrgan.contracts.scorer import Scorer
from ranksrgan.contracts.training_folder import alone_in, check_folder
from ranksrgan.contracts.usual_modes import usual_modes
from ranksrgan.srgan.config import TrainConfig
from ranksrgan.srgan.training.features import FeatureNetwork
from ranksrgan.srgan.training.frozen import frozen
from ranksrgan.srgan.training.objective import Rankers
from ranksrgan.srgan.training.run import Run
from ranksrgan.srgan.training.state import BEST_FILE, DISCRIMINATOR_FILE, FILES, GENERATOR_FILE


@dataclass(frozen=True)
class TrainResult:
    """What a training left behind.

    Attributes:
        step: the last completed step.
        finished: False if a signal or a drift alarm stopped it early, the last validation included.
        generator: weights of the last step.
        discriminator: likewise; None without one.
        best: weights of the best validation; None without validation.
        scores: of the last validation.
        alarms: what the drift alarm said, oldest first.
        drifted: True if the last of them ended it.
    """

    step: int
    finished: bool
    generator: Path
    discriminator: Path | None
    best: Path | None
    scores: dict[str, float | None]
    alarms: tuple[str, ...] = ()
    drifted: bool = False


@usual_modes()
def train(
    config: TrainConfig,
    folder: Path | str,
    *,
    rankers: Rankers | None = None,
    feature_network: FeatureNetwork | None = None,
    validation_scorers: Mapping[str, Scorer] | None = None,
    resume: bool = True,
    on_step: Callable[[int, Mapping[str, float]], None] | None = None,
) -> TrainResult:
    """Train a generator, and a discriminator against it if the configuration has one.

    Started by ``torchrun``, the processes share each batch, the first of them writes and validates,
    and what stops or fails one of them stops all after the same step.

    SIGINT and SIGTERM raise nothing here, unlike in ``ranksrgan.ranker.train``, which ends with
    KeyboardInterrupt: the step at hand is finished and saved, and the result says
    ``finished=False``. What trains several one after the other looks at it before it goes on, or
    Ctrl-C stops one and starts the next. A second signal ends at once.

    Args:
        config: what to do.
        folder: takes checkpoints, curves and the resolved configuration.
        rankers: of the rank loss, each with its weight, and then ``losses.rank.rankers`` is empty;
            None opens those of the configuration. With ``losses.rank.weight`` 0 they take part in
            the validation only. Those that are an ``nn.Module``, or have one as an attribute or in
            a list there, are frozen and in eval() as long as this runs, and what they were before
            afterwards; so are feature networks and scorers.
        feature_network: of the perceptual loss, on the training's device, and then
            ``losses.perceptual.network`` is null; None opens the configured one.
        validation_scorers: further scorers of the validation, by the name of their column, which is
            that of no other.
        resume: continue from the folder's state if it has one; otherwise start anew.
        on_step: called after each step with the losses.

    Returns:
        What lies in ``folder`` now. ``finished`` is False if a signal or a drift alarm stopped the
        training early: the same call continues it.

    Raises:
        InvalidConfig: an impossible combination, crops that are too small for a Ranker or another
            scorer of the losses, a batch that the processes cannot share equally,
            or a state of another configuration; Rankers or a feature network are given and
            configured, or the Rankers given do not normalise as ``losses.rank.statistics`` says.
        InvalidInput, InvalidImage, InvalidDataset: a folder of images, or one of them; another
            training is at work in ``folder``, or something else lies in it, see `check_folder`; the
            name of a scorer of the validation is taken.
        InvalidCheckpoint, MissingAsset: weights to start from, or of a Ranker or VGG19.
        TrainingDiverged: a loss, gradient or weight is not finite; the last good state is kept, and
            the message says what goes on from it, and names a file with the images of that step.
        DiskFull: no room for a file of the run; the last good state is kept.
        RankSRGANError: whatever else goes wrong between two steps, or in one before it has changed
            anything: a remote Ranker has gone, is overloaded or no longer takes the token, nobody
            waits any more, an image cannot be read again. The state of the last completed step is
            saved first.
    """
    folder = Path(folder)
    with ExitStack() as stack:
        here = stack.enter_context(processes(config.run.device, field="run.device"))
        here.from_first(lambda: check_folder(folder, "a generator", "generator"))
        run = here.together(
            lambda: Run(config, folder, here, rankers, feature_network, validation_scorers or {})
        )
        here.from_first(lambda: stack.enter_context(alone_in(folder, FILES)))
        stack.enter_context(frozen(run.judges))
        run.begin(resume)
        _continue(run, on_step)
        training = run.training
        return TrainResult(
            step=training.step,
            finished=run.complete,
            generator=folder / GENERATOR_FILE,
            discriminator=folder / DISCRIMINATOR_FILE if training.discriminator else None,
            best=folder / BEST_FILE if training.best else None,
            scores=training.scores,
            alarms=tuple(str(alarm["message"]) for alarm in training.alarms),
            drifted=run.drifted,
        )


def _continue(run: Run, on_step: Callable[[int, Mapping[str, float]], None] | None) -> None:
    training, steps = run.training, run.config.run.steps
    with ExitStack() as stack:
        stack.enter_context(run.recording())
        shown = None if run.here.first else True  # None: on a terminal
        bar = tqdm(total=steps, initial=training.step, unit="step", disable=shown)
        stack.enter_context(bar)
        batches = stack.enter_context(closing(run.batches()))
        stopping = stack.enter_context(stop_requested())
        try:
            with _saved_if_it_fails(run):
                if _begin_with_validation(run, stopping):
                    return
                for batch in batches:
                    values = run.update(batch)
                    bar.update()
                    bar.set_postfix({name: f"{value:.4g}" for name, value in values.items()})
                    if run.save_is_due and run.validation_is_due:
                        run.save()  # a kill in a validation, which may be long, loses no step
                    run.validate(stopping)
                    if on_step is not None:
                        on_step(training.step, values)
                    stop = run.here.any(run.drifted or stopping())
                    if stop or run.save_is_due:
                        run.save()
                    if stop:
                        break
        except DiskFull as error:
            kept = "there is no state yet"
            if training.saved is not None:
                kept = (
                    f"the state of step {training.saved} is kept: make room, and {run.again} "
                    "continues from there"
                )
            raise DiskFull(f"step {training.step}: {error}; {kept}", field=error.field) from error


def _begin_with_validation(run: Run, stopping: Callable[[], bool]) -> bool:
    """Validate before the first step, or what an earlier run was stopped in; True if it is to stop.

    What comes of it is saved, as there may be no further step after which it would be.
    """
    if not run.validation_is_due:
        return False
    run.validate(stopping)
    stop = run.here.any(run.drifted or stopping())
    if stop or run.complete:
        run.save()
    return stop


@contextmanager
def _saved_if_it_fails(run: Run) -> Iterator[None]:
    """Save the last completed step when something outside of the training has failed.

    It fails before a step has changed anything, see `Objective.before_discriminator`. What has
    diverged is not to be saved, nor what another configuration would be refused to continue.
    """
    try:
        yield
    except (TrainingDiverged, DiskFull, InvalidConfig):
        raise
    except RankSRGANError as error:
        if run.training.step == 0 and run.training.saved is None:
            raise  # there is nothing to save, and another configuration may mend it
        saved = run.save()
        told = copy.copy(error)  # with all that it says besides its message
        told.message = (
            f"{error.message}; the training is saved at step {run.training.step} in {saved}: "
            f"{run.again} continues it"
        )
        raise told from error
