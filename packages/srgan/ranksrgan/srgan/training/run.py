"""A training between two of its steps: what `train` steps through."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import cast

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.curves import Curves
from ranksrgan.contracts.device import computes_in_bfloat16
from ranksrgan.contracts.errors import InvalidConfig, RequestCancelled, TrainingDiverged
from ranksrgan.contracts.processes import Processes
from ranksrgan.contracts.provenance import write_run_record
from ranksrgan.contracts.scorer import Scorer, ScorerInfo
from ranksrgan.contracts.training_folder import clear
from ranksrgan.srgan.config import TrainConfig
from ranksrgan.srgan.data.crops import Batch, CropSource, open_crops
from ranksrgan.srgan.training.divergence import keep_batch, with_advice
from ranksrgan.srgan.training.drift import write_alarms
from ranksrgan.srgan.training.features import FeatureNetwork
from ranksrgan.srgan.training.frozen import frozen
from ranksrgan.srgan.training.judged_crops import check_judged
from ranksrgan.srgan.training.objective import Objective, Rankers, choose_features, choose_rankers
from ranksrgan.srgan.training.schedule import learning_rate
from ranksrgan.srgan.training.state import BEST_FILE, FILES, STATE_FILE, Training, start_weights
from ranksrgan.srgan.training.step import Step
from ranksrgan.srgan.training.validate import Validation

log = logging.getLogger(__name__)


class Run:
    """A training and its folder, in one of the processes that share it.

    For the arguments and for what is raised see `train`.
    """

    def __init__(
        self,
        config: TrainConfig,
        folder: Path,
        here: Processes,
        rankers: Rankers | None,
        feature_network: FeatureNetwork | None,
        validation_scorers: Mapping[str, Scorer],
    ) -> None:
        self.config = config
        self.here = here
        parts = here.count * config.optimiser.accumulate
        if config.data.batch % parts:
            raise InvalidConfig(
                f"data.batch is {config.data.batch}; {here.count} processes with "
                f"optimiser.accumulate={config.optimiser.accumulate} cannot divide it into {parts} "
                "equal parts",
                field="data.batch",
            )
        rankers = choose_rankers(config, rankers, here.device)
        features = choose_features(config, feature_network, here.device)
        self._objective = Objective(config, rankers, features, device=here.device)
        self._validation: Validation | None = None
        if config.validation.hr is not None and here.first:
            self._validation = Validation(config, rankers, validation_scorers, here.device)
        #: Whatever judges pictures or shows features of them, and learns nothing by it.
        self.judges: list[object] = [
            *(ranker for ranker, _ in rankers),
            *(loss.scorer for loss in self._objective.scorers.values()),
            features,
            *(self._validation.scorers if self._validation else ()),
        ]
        with frozen(self.judges):
            scorers = [loss.scorer for loss in self._objective.scorers.values()]
            check_judged(config, [ranker for ranker, _ in rankers], scorers, here.device)
        self._crops = open_crops(config, (here.rank, here.count))
        self._inputs = _fingerprints(self._crops, rankers, self._objective, features)
        self._folder = folder
        #: What is to be run to go on with this one.
        self.again = "the same command"
        self._curves: Curves | None = None
        self._rows: list[dict[str, float]] = []
        self._looked_at_rank_loss = False
        self._batch: Batch | None = None
        self._began = time.perf_counter()
        if here.first:
            validation = self._validation
            self._inputs["validation.hr"] = validation.fingerprint if validation else ""
        self.training: Training

    def begin(self, resume: bool) -> None:
        """Continue from the folder's state if there is one and it is wanted; else start anew."""
        state, here = self._folder / STATE_FILE, self.here
        if not resume:
            self.again = "the same command without --restart"
        goes_on = resume and here.from_first(state.is_file)
        self.training = training = here.together(
            lambda: Training.start(
                self.config, here.device, joint_norms=here.count > 1, goes_on=goes_on
            )
        )
        self._inputs |= here.together(lambda: start_weights(self.config))
        if goes_on:
            self._inputs |= here.together(lambda: training.restore(state, self._inputs))
            if here.first:
                log.info("continuing from step %d of %s", training.step, state)
            if self._validation is not None and training.best and training.best_first:
                rule, value = self._validation.best, training.best["value"]
                training.best["value"] = rule.restored(value, training.best_first)
        self._bfloat16 = computes_in_bfloat16(self.config.run.precision, self.here.device)
        self.here.from_first(lambda: self._prepare_folder(keep=goes_on))
        if self.here.first:
            number_format = "bfloat16 where safe" if self._bfloat16 else "float32"
            log.info("%d images, %s, %s", len(self._crops), self.here.device, number_format)
        self._step = Step(training, self._objective, self.here, self._bfloat16)

    def batches(self) -> Generator[Batch]:
        """This process's share of the batches that are left."""
        batches = self._crops.batches(self.training.step + 1, self.config.run.steps)
        with closing(batches):  # type: ignore[type-var]
            self._began = time.perf_counter()
            waiting = iter(batches)
            # An image that one process cannot read stops all of them.
            while (batch := self.here.together(lambda: next(waiting, None))) is not None:
                yield batch
                self._began = time.perf_counter()  # validating and saving are not timed

    def update(self, batch: Batch) -> dict[str, float]:
        """Take one step, and write a row of the curves if it is due; the losses of the step."""
        training, run, optimiser = self.training, self.config.run, self.config.optimiser
        self._batch = batch
        try:
            values = self._step(batch)
        except TrainingDiverged as error:
            raise self._explained(error, training.step + 1) from error
        training.step += 1
        self._rows.append({**values, "seconds": time.perf_counter() - self._began})
        if training.step % run.log_every == 0 or training.step == run.steps:
            rate = learning_rate(
                optimiser.schedule, optimiser.generator_lr, training.step, optimiser.warmup
            )
            row = {"generator_lr": rate, **_means(self._rows)}
            # There are curves in the first process.
            self.here.from_first(lambda: cast(Curves, self._curves).losses(training.step, row))
            self._rows = []
            self._look_at_rank_loss(row)
        return values

    def _look_at_rank_loss(self, row: Mapping[str, float]) -> None:
        """Tell once if there is hardly a gradient: the training would go on without its Rankers."""
        rank, looked = self._objective.rank, self._looked_at_rank_loss
        self._looked_at_rank_loss = True
        if rank is None or looked or not self.here.first:
            return
        bias = rank.steeper_bias(row["rank"])
        if bias is not None:
            log.warning(
                "losses.rank: the sigmoid is %.3f where the Rankers' scores lie, and flat there, "
                "so they hardly change anything; losses.rank.bias=%.2g would lie among the scores",
                row["rank"],
                bias,
            )

    @property
    def drifted(self) -> bool:
        """Whether a drift alarm has been raised at this step and is to stop the training."""
        training, drift = self.training, self.config.validation.drift
        alarmed = bool(training.alarms) and training.alarms[-1]["step"] == training.step
        return alarmed and drift is not None and drift.stop

    @property
    def validation_is_due(self) -> bool:
        """Whether a validation is wanted here that has not been: at the start, every so many steps,
        and at the end."""
        training, config = self.training, self.config
        if config.validation.hr is None or training.validated == training.step:
            return False
        return training.step % config.validation.every == 0 or training.step == config.run.steps

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do."""
        return self.training.step >= self.config.run.steps and not self.validation_is_due

    def validate(self, stopping: Callable[[], bool]) -> None:
        """Validate if it is due.

        As soon as ``stopping`` says so in the first process, the validation is given up and stays
        due: the run that continues this one makes up for it.
        """
        if not self.validation_is_due:
            return
        training = self.training
        # There is a validation in the first process, and it alone computes.
        with self._keeping_the_batch():
            found = self.here.from_first(
                lambda: self._judge_until(stopping, cast(Validation, self._validation))
            )
        if found is None:
            return
        training.scores, training.best, training.recent, training.alarms = found
        training.validated = training.step

    @property
    def save_is_due(self) -> bool:
        """Whether the step is one after which the state is saved."""
        step, run = self.training.step, self.config.run
        return step % run.save_every == 0 or step == run.steps

    def save(self) -> Path:
        """Write state and weights of the last completed step; the state's path."""
        with self._keeping_the_batch():
            saved = self.here.from_first(self._save)
        self.training.saved = self.training.step
        return saved

    def _save(self) -> Path:
        if self._batch is not None:
            self.training.require_pictures(self._batch.lr)
        return self.training.save(self._folder, self._inputs)

    @contextmanager
    def _keeping_the_batch(self) -> Iterator[None]:
        """The images of the last step are kept too where it turns out later that it diverged."""
        try:
            yield
        except TrainingDiverged as error:
            raise self._explained(error, self.training.step) from error

    def _explained(self, error: TrainingDiverged, step: int) -> TrainingDiverged:
        """With what may help, and the file that has the images of the step, if there were any."""
        told = with_advice(error, self.training, self._folder, bfloat16=self._bfloat16)
        if self._batch is None:
            return told
        return keep_batch(told, self._folder, step, self._batch, self._step.losses, self.here)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Within the block the first process writes the folder's curves."""
        with ExitStack() as stack:
            self.here.from_first(lambda: self._open_curves(stack))
            yield

    def _open_curves(self, stack: ExitStack) -> None:
        scores = self._validation.columns if self._validation else []
        if self._validation and self._validation.drift:
            scores = [*scores, "drift"]
        self._curves = stack.enter_context(
            Curves(
                self._folder,
                losses=["generator_lr", *self._objective.names, "seconds"],
                scores=scores,
                step=self.training.step,
                validated=self.training.validated,
                tensorboard=self.config.run.tensorboard,
            )
        )

    def _prepare_folder(self, *, keep: bool) -> None:
        if not keep:
            # A kill before the first checkpoint of a new run must not bring an old one back.
            clear(self._folder, FILES)
        write_run_record(self._folder, self.config, self.config.run.seed)
        if self.training.alarms:
            write_alarms(self._folder, self.training.alarms)

    def _judge_until(
        self, stopping: Callable[[], bool], validation: Validation
    ) -> _Judgement | None:
        """What `_judge` finds; None if it was stopped before it had found anything."""
        try:
            with cancellation.scope(lambda: not stopping()):
                return self._judge(validation)
        except RequestCancelled:
            if not stopping():
                raise
            log.info("stopped in the validation of step %d, which is left out", self.training.step)
            return None

    def _judge(self, validation: Validation) -> _Judgement:
        """Validate, keep the weights if they are the best so far, and look for drift."""
        training = self.training
        step = training.step
        try:
            training.scores = validation.run(training.result)
        except TrainingDiverged as error:
            raise TrainingDiverged(f"step {step}: {error.message}") from error
        training.validated = step
        value = validation.best.value(training.scores)
        best = value is not None and validation.best.improves(value, training.best.get("value"))
        # What the run starts from is not its result, even if it is better by the chosen metric.
        if step > 0 and value is not None and best:
            training.best = {"step": step, "value": value}
            training.export(self._folder / BEST_FILE)
        alarm = None
        if validation.drift is not None:
            training.recent = validation.drift.remember(training.recent, step, training.scores)
            alarm = validation.drift.check(training.recent)
        if alarm is not None:
            log.warning("drift: %s", alarm)
            training.alarms = [*training.alarms, {"step": step, "message": alarm}]
            training.recent = []  # the next alarm is about validations that this one has not seen
            write_alarms(self._folder, training.alarms)
        if self._curves is not None:
            drift = {"drift": float(alarm is not None)} if validation.drift else {}
            self._curves.scores(step, {**training.scores, **drift})
        return training.scores, training.best, training.recent, training.alarms


#: Scores, best, recent and alarms as `Training` holds them.
_Judgement = tuple[
    dict[str, float | None],
    dict[str, float],
    list[tuple[int, dict[str, float | None]]],
    list[dict[str, int | str]],
]


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}


def _fingerprints(
    crops: CropSource, rankers: Rankers, objective: Objective, features: FeatureNetwork | None
) -> dict[str, str]:
    """What decides the steps besides the configuration, for a resumed run to compare."""
    return {
        "data.hr": crops.fingerprint,
        "losses.rank.rankers": _listed((ranker.info, weight) for ranker, weight in rankers),
        "losses.scorers": _listed(
            (loss.scorer.info, objective.weights[name]) for name, loss in objective.scorers.items()
        ),
        "losses.perceptual.network": features.name if features else "",
    }


def _listed(scorers: Iterable[tuple[ScorerInfo, float]]) -> str:
    """Weights, parameters and options: the name itself may be another in another place."""
    listed = []
    for info, weight in scorers:
        name, _, options = info.name.partition("?")
        listed.append(f"{weight!r} x {info.parameters_hash or name}?{options}".rstrip("?"))
    return "; ".join(listed)
