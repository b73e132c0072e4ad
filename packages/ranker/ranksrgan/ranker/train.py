"""Training of a Ranker (section 4.2 of the paper).

Both members of every pair of a batch go through the network in one concatenated forward pass, so
that BatchNorm normalises them together. The published code passes the first and the second members
separately and always puts the better level first; then each branch is normalised by itself and the
network can tell the branches apart without ever looking at quality.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.checkpoint import save_weights
from ranksrgan.contracts.curves import Curves
from ranksrgan.contracts.device import choose_device, computes_in_bfloat16, mixed, place
from ranksrgan.contracts.errors import RequestCancelled, TrainingDiverged
from ranksrgan.contracts.interruption import stop_requested
from ranksrgan.contracts.pairs import PairSource
from ranksrgan.contracts.provenance import write_run_record
from ranksrgan.ranker.augment import noise, pair_views
from ranksrgan.ranker.batches import Batch, prefetched, read_batches
from ranksrgan.ranker.config import TrainConfig
from ranksrgan.ranker.evaluate import RankEvaluation, evaluate
from ranksrgan.ranker.loss import magnitude, margin_ranking
from ranksrgan.ranker.scorer import KIND, Ranker
from ranksrgan.ranker.state import STATE_FILE, identity, read_state, write_state
from ranksrgan.ranker.vgg import VGG12

WEIGHTS_FILE = "ranker.safetensors"
LOSSES = ("lr", "loss", "accuracy")
SCORES = ("srocc", "srocc_per_content", "pair_accuracy")

logger = logging.getLogger(__name__)


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
    ``last.state.pt``, ``curves.csv``, ``validation.csv``, TensorBoard events, ``config.yaml`` and
    ``run.json``. SIGINT and SIGTERM let the current step finish and save it first; a second one
    ends at once.

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
    device = choose_device(config.device)
    precision = "bfloat16" if computes_in_bfloat16(config.precision, device) else "float32"
    config = config.model_copy(update={"device": str(device), "precision": precision})
    run = _Run(config, train_source, val_source, folder)
    if resume:
        run.restore()
    write_run_record(folder, config, config.seed)
    logger.info("training on %s in %s, from step %d", device, precision, run.step)
    with (
        stop_requested() as stopping,
        prefetched(
            read_batches(train_source, size=config.batch, seed=config.seed, start=run.step),
            pin=device.type == "cuda",
        ) as batches,
        Curves(folder, losses=LOSSES, scores=SCORES if val_source else (), step=run.step) as curves,
        tqdm(total=config.steps, initial=run.step, unit="step", disable=None) as bar,
    ):
        while run.step < config.steps:
            loss = run.update(next(batches))
            if row := run.row_if_due():
                curves.losses(run.step, row)
            last = run.step == config.steps
            if val_source and (last or run.step % config.validate_every == 0):
                curves.scores(run.step, run.validate(val_source))
            if last or run.step % config.save_every == 0:
                run.save()
            bar.update()
            bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
            try:
                cancellation.check()
                if on_step:
                    on_step(run.step, loss)
                if stopping():
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
        self._network = place(network, self._device)
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
        random = torch.Generator().manual_seed(1_000_003 * config.seed + self.step)
        images = pair_views(images, config.jitter, random)
        if config.noise > 0:
            images = images + noise(images.shape, config.noise / 255, random).to(self._device)
        with mixed(config.precision == "bfloat16", self._device):
            scores = self._network(images)
        pair = torch.arange(len(labels), device=self._device).repeat(2)
        values = torch.cat([labels, torch.zeros_like(labels)])  # of each pair, b is where 0 is
        loss = margin_ranking(scores, values, pair, config.margin)
        loss = loss + config.magnitude * magnitude(scores)
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
        a, b = scores.detach().chunk(2)
        right = int((labels * (a - b) > 0).sum())
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

    def validate(self, source: PairSource) -> dict[str, float | None]:
        """Evaluate, and keep the weights if none were better."""
        self._check_finite()
        ranker = Ranker(
            self._network, higher_is_better=self._info.higher_is_better, device=self._device
        )
        found = evaluate(ranker, source)
        if self.best is None or found.selection > self.best.selection:
            self.best, self.best_step = found, self.step
            self._save_weights()
        values = {name: getattr(found, name) for name in SCORES}
        shown = ", ".join(
            f"{key} {value:.4f}" for key, value in values.items() if value is not None
        )
        logger.info("step %d: %s (best so far: step %d)", self.step, shown, self.best_step)
        return values

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
            architecture=self._network.architecture,
            options=self._network.options,
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
