"""Training of a Ranker (section 4.2 of the paper).

Both members of every pair of a batch go through the network in one concatenated forward pass, so
that BatchNorm normalises them together. The published code passes the first and the second members
separately and always puts the better level first; then each branch is normalised by itself and the
network can tell the branches apart without ever looking at quality.
"""

from __future__ import annotations

import logging
import math
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

import torch
from tqdm import tqdm

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.checkpoint import save_weights
from ranksrgan.contracts.errors import RankSRGANError, RequestCancelled
from ranksrgan.contracts.pairs import PairSource
from ranksrgan.contracts.provenance import write_run_record
from ranksrgan.ranker.batches import Batch, prefetched, read_batches
from ranksrgan.ranker.config import TrainConfig
from ranksrgan.ranker.curves import Curves
from ranksrgan.ranker.device import resolve_device, resolve_precision
from ranksrgan.ranker.evaluate import RankEvaluation, evaluate
from ranksrgan.ranker.loss import margin_ranking_loss
from ranksrgan.ranker.scorer import ARCHITECTURE, KIND, Ranker
from ranksrgan.ranker.state import STATE_FILE, identity, read_state, write_state
from ranksrgan.ranker.vgg12 import VGG12

WEIGHTS_FILE = "ranker.safetensors"
COLUMNS = ("lr", "loss", "accuracy", "val_srocc", "val_srocc_per_content", "val_pair_accuracy")

logger = logging.getLogger(__name__)


class TrainingDiverged(RankSRGANError):
    """The loss or the weights are not finite any more."""


@dataclass(frozen=True)
class TrainResult:
    """What a training leaves.

    Attributes:
        weights: the best Ranker by validation; without validation the last.
        step: how many updates were made in all.
        best_step: after how many of them ``weights`` was written.
        evaluation: of ``weights`` on the validation source; None without one.
    """

    weights: Path
    step: int
    best_step: int
    evaluation: RankEvaluation | None


def train(
    config: TrainConfig,
    train_source: PairSource,
    val_source: PairSource | None,
    folder: Path,
    *,
    resume: bool = True,
    on_step: Callable[[int, float], None] | None = None,
) -> TrainResult:
    """Train a Ranker; what is in ``folder`` is continued, on the CPU to the bit.

    ``folder`` receives ``ranker.safetensors`` (the best weights by SROCC per content, or by global
    SROCC where no content has an order; the last weights without ``val_source``),
    ``last.state.pt``, ``curves.csv``, TensorBoard events, ``config.yaml`` and ``run.json``. SIGINT
    and SIGTERM let the current step finish and save it first; a second one ends at once.

    Args:
        config: see `TrainConfig`.
        train_source: pairs to learn.
        val_source: contents to choose the best weights by.
        folder: of the run, made if need be.
        resume: False starts anew and overwrites what is there.
        on_step: called after each step, and after its state is saved if it is, with the number of
            finished steps and the step's loss.

    Raises:
        InvalidCheckpoint: ``folder`` holds a training with another configuration or other data.
        InvalidDataset: a source has nothing to learn from, or contradicts itself.
        TrainingDiverged: NaN or infinity; the last good state is kept.
    """
    device = resolve_device(config.device)
    precision = resolve_precision(config.precision, device)
    config = config.model_copy(update={"device": str(device), "precision": precision})
    run = _Run(config, train_source, val_source, folder)
    if resume:
        run.restore()
    write_run_record(folder, config, config.seed)
    logger.info("training on %s in %s, from step %d", device, precision, run.step)
    with (
        _stop_requests() as stop,
        prefetched(
            read_batches(train_source, size=config.batch, seed=config.seed, start=run.step),
            pin=device.type == "cuda",
        ) as batches,
        Curves(folder, COLUMNS, start=run.step) as curves,
        tqdm(total=config.steps, initial=run.step, unit="step", disable=None) as bar,
    ):
        while run.step < config.steps:
            loss = run.update(next(batches))
            row = run.row_if_due()
            last = run.step == config.steps
            if val_source and (last or run.step % config.validate_every == 0):
                row |= run.validate(val_source)
            if row:
                curves.add(run.step, row)
            if last or run.step % config.save_every == 0:
                run.save()
            bar.update()
            bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
            try:
                cancellation.check()
                if on_step:
                    on_step(run.step, loss)
                if stop.is_set():
                    raise KeyboardInterrupt
            except (KeyboardInterrupt, RequestCancelled):
                run.save()
                raise
    return TrainResult(folder / WEIGHTS_FILE, run.step, run.best_step, run.best)


class _Run:
    """A training between two of its steps."""

    def __init__(
        self,
        config: TrainConfig,
        train_source: PairSource,
        val_source: PairSource | None,
        folder: Path,
    ) -> None:
        self.step = 0
        self.best: RankEvaluation | None = None
        self.best_step = 0
        self._config = config
        self._folder = folder
        self._device = torch.device(config.device)
        self._info = train_source.info
        self._validated = val_source is not None
        self._identity = identity(config, train_source, val_source)
        network = VGG12(config.width, torch.Generator().manual_seed(config.seed))
        self._network = network.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._optimiser = torch.optim.Adam(
            self._network.parameters(),
            lr=config.lr,
            betas=config.betas,
            weight_decay=config.weight_decay,
            fused=True,
        )
        # Since the last row of the curves: loss, pairs in the right order, pairs with an order.
        self._pending: list[tuple[float, int, int]] = []

    def update(self, batch: Batch) -> float:
        """One step of Adam; the loss before it."""
        config = self._config
        images = batch.images.to(self._device, non_blocking=True)
        labels = batch.labels.to(self._device, non_blocking=True)
        for group in self._optimiser.param_groups:
            group["lr"] = config.lr_at(self.step)
        self._network.train()
        in_bfloat16 = config.precision == "bfloat16"
        with torch.autocast(self._device.type, torch.bfloat16, enabled=in_bfloat16):
            a, b = self._network(images).chunk(2)
        loss = margin_ranking_loss(a, b, labels, config.margin)
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingDiverged(
                f"the loss is {value} at step {self.step + 1}; the last good state is kept in "
                f"{self._folder / STATE_FILE} if one was saved. Try a smaller lr, or look for NaN "
                "in the images",
                field="lr",
            )
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        right = int((labels * (a - b).detach() > 0).sum())
        self._pending.append((value, right, int((labels != 0).sum())))
        self.step += 1
        return value

    def row_if_due(self) -> dict[str, float]:
        """Means since the last row, every ``log_every`` steps and after the last; else nothing."""
        if self.step % self._config.log_every and self.step != self._config.steps:
            return {}
        losses, right, decided = zip(*self._pending, strict=True)
        self._pending = []
        row = {"lr": self._config.lr_at(self.step - 1), "loss": sum(losses) / len(losses)}
        return row | ({"accuracy": sum(right) / sum(decided)} if sum(decided) else {})

    def validate(self, source: PairSource) -> dict[str, float]:
        """Evaluate, and keep the weights if none were better."""
        self._check_finite()
        ranker = Ranker(
            self._network, higher_is_better=self._info.higher_is_better, device=self._device
        )
        found = evaluate(ranker, source)
        if self.best is None or found.selection > self.best.selection:
            self.best, self.best_step = found, self.step
            self._save_weights()
        values = {
            "val_srocc": found.srocc,
            "val_srocc_per_content": found.srocc_per_content,
            "val_pair_accuracy": found.pair_accuracy,
        }
        row = {key: value for key, value in values.items() if value is not None}
        shown = ", ".join(f"{key} {value:.4f}" for key, value in row.items())
        logger.info("step %d: %s (best so far: step %d)", self.step, shown, self.best_step)
        return row

    def save(self) -> None:
        """Write the training state, and the weights if no validation chooses them."""
        self._check_finite()
        if not self._validated:
            self.best_step = self.step
            self._save_weights()
        content = {
            "step": self.step,
            "network": self._network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "pending": self._pending,
            "best": asdict(self.best) if self.best else None,
            "best_step": self.best_step,
        }
        write_state(self._folder, self._identity, content)

    def restore(self) -> None:
        """Go on from the folder's training state, if there is one."""
        state = read_state(self._folder, self._identity)
        if state is None:
            return
        self._network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]
        self._pending = state["pending"]
        self.best = RankEvaluation(**state["best"]) if state["best"] else None
        self.best_step = state["best_step"]

    def _save_weights(self) -> None:
        save_weights(
            self._folder / WEIGHTS_FILE,
            self._network.state_dict(),
            kind=KIND,
            architecture=ARCHITECTURE,
            options={"width": self._config.width},
            about={
                "metric": self._info.metric,
                "higher_is_better": self._info.higher_is_better,
                "levels": list(self._info.levels),
                "validation": asdict(self.best) if self.best else None,
                "steps": self.step,
            },
        )

    def _check_finite(self) -> None:
        for key, value in self._network.state_dict().items():
            if not bool(torch.isfinite(value).all()):
                raise TrainingDiverged(
                    f"{key} is not finite after step {self.step}; the last good state is kept in "
                    f"{self._folder / STATE_FILE} if one was saved. Try a smaller lr",
                    field="lr",
                )


@contextmanager
def _stop_requests() -> Iterator[threading.Event]:
    """An event that the first SIGINT or SIGTERM sets; the second acts as it always does.

    Signals belong to the main thread; elsewhere the event stays clear, and whoever runs the
    training there stops it through `cancellation`.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    previous = {
        number: signal.getsignal(number) or signal.SIG_DFL
        for number in (signal.SIGINT, signal.SIGTERM)
    }

    def request(number: int, frame: FrameType | None) -> None:
        stop.set()
        signal.signal(number, previous[signal.Signals(number)])

    for number in previous:
        signal.signal(number, request)
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
