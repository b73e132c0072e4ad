"""A training between two of its steps: network, optimiser, and the best weights so far."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import zip_longest
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from ranksrgan.contracts.checkpoint import load_weights, save_weights
from ranksrgan.contracts.device import mixed, place
from ranksrgan.contracts.errors import InvalidCheckpoint, TrainingDiverged, UndefinedScore
from ranksrgan.contracts.pairs import PairSource
from ranksrgan.contracts.processes import Processes
from ranksrgan.metrics.synced_norm import sync_norms
from ranksrgan.ranker.augment import content_views, noise
from ranksrgan.ranker.batches import Batch
from ranksrgan.ranker.config import TrainConfig
from ranksrgan.ranker.evaluate import RankEvaluation
from ranksrgan.ranker.heads import Head, ScoreScale, heads_about
from ranksrgan.ranker.loss import ordered
from ranksrgan.ranker.networks import KIND, Network, load_network, make_network
from ranksrgan.ranker.nss import NSS
from ranksrgan.ranker.objective import objective
from ranksrgan.ranker.predictions import predict
from ranksrgan.ranker.scorer import Ranker
from ranksrgan.ranker.shipped import SHIPPED
from ranksrgan.ranker.state import STATE_FILE, identity, read_state, write_state

WEIGHTS_FILE = "ranker.safetensors"
SCORES = ("srocc", "srocc_per_content", "pair_accuracy")

logger = logging.getLogger(__name__)


class Run:
    """What `train` steps through.

    Args:
        config: with device and precision resolved.
        train_source: its facts go into the weights' file.
        val_source: chooses the best weights; None keeps the last.
        folder: of the run.
        here: this process among those that train together.
        begin_from: see `train`.

    Attributes:
        step: how many updates were made.
        begun_at: how many of them were made before, by the run that this one continues.
        best: the best evaluation so far; None before the first.
        best_step: the step that it belongs to.
        validated: the step of the last validation; 0 before the first.
    """

    def __init__(
        self,
        config: TrainConfig,
        train_source: PairSource,
        val_source: PairSource | None,
        folder: Path,
        here: Processes,
        begin_from: Path | None = None,
    ) -> None:
        self.step = self.begun_at = 0
        self.best: RankEvaluation | None = None
        self.best_step = 0
        self.validated = 0
        self._without_better = 0
        self._config = config
        self._folder = folder
        self._here = here
        self._info = train_source.info
        self._val_source = val_source
        self._identity = identity(config, train_source, val_source, here.count)
        network = make_network(
            config.architecture,
            config.width,
            torch.Generator().manual_seed(config.seed),
            heads=1 + len(config.further),
            start="pytorch" if config.as_published else config.start,
            border=config.border,
        )
        self._begun = begin_from is not None
        if begin_from is not None:
            weights = load_weights(SHIPPED.resolve(begin_from))
            _begin_from(network, load_network(weights), weights.path)
            self._identity["begins from"] = weights.sha256
        self._network = place(network, here.device)
        if here.count > 1:
            sync_norms(self._network)
        self._shared = here.share(self._network)
        self._optimiser = torch.optim.Adam(
            self._network.parameters(),
            lr=config.lr,
            betas=config.betas,
            weight_decay=config.weight_decay,
            fused=True,
        )
        # Since the last row of the curves: loss, pairs in the right order, pairs with an order.
        self._pending: list[tuple[float, int, int]] = []

    @property
    def patience_ended(self) -> bool:
        """Whether as many validations as wanted brought nothing better."""
        return 0 < self._config.patience <= self._without_better

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do."""
        return self._ended and not self.validation_is_due

    @property
    def validation_is_due(self) -> bool:
        """Whether a validation is wanted after this step that has not been."""
        if self._val_source is None or self.validated == self.step:
            return False
        return self.step % self._config.validate_every == 0 or self.step == self._config.steps

    @property
    def save_is_due(self) -> bool:
        """Whether the step is one after which the state is saved."""
        return self._ended or self.step % self._config.save_every == 0

    def update(self, batch: Batch) -> float:
        """One step of Adam; the loss before it."""
        config = self._config
        for group in self._optimiser.param_groups:
            group["lr"] = config.lr_at(self.step)
        if self.step == 0:
            self._begin(batch)
        self._network.train()
        own = self._scores(batch)
        scores = self._here.joint(own)
        values = self._here.joint(batch.values.to(own.device, non_blocking=True))
        contents = self._contents(batch.group.to(own.device, non_blocking=True))
        loss = objective(config, scores, values, contents)
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
        head = scores[:, 0].detach(), values[:, 0]
        self._pending.append((value, *_in_order(*head, contents, config.min_gap)))
        self.step += 1
        return value

    def row_if_due(self) -> dict[str, float]:
        """Means since the last row, every ``log_every`` steps and at the end; else nothing.

        To be asked after a step and, as that may end the training, after a validation.
        """
        if not self._pending or (self.step % self._config.log_every and not self._ended):
            return {}
        losses, right, decided = zip(*self._pending, strict=True)
        self._pending = []
        row = {"lr": self._config.lr_at(self.step - 1), "loss": sum(losses) / len(losses)}
        return row | ({"accuracy": sum(right) / sum(decided)} if sum(decided) else {})

    def validate(self) -> dict[str, float | None]:
        """Evaluate, and keep the weights if none were better. The first process does it.

        Raises:
            RequestCancelled: in all processes, nobody waits for it any more; it stays due.
            ServiceUnavailable, DeadlineExceeded: likewise, a remote source has gone.
            UndefinedScore, InvalidDataset: likewise, it cannot be evaluated on.
        """
        self._check_finite()
        found, scales = self._here.from_first(self._evaluate)
        if self.best is None or found.selection > self.best.selection:
            self.best, self.best_step, self._without_better = found, self.step, 0
            self._save_weights(scales)
        else:
            self._without_better += 1
        self.validated = self.step
        values = {name: getattr(found, name) for name in SCORES}
        shown = ", ".join(
            f"{key} {value:.4f}" for key, value in values.items() if value is not None
        )
        logger.info("step %d: %s (best so far: step %d)", self.step, shown, self.best_step)
        return values

    def save(self) -> None:
        """Write the training state, and the weights if no validation chooses them."""
        self._check_finite()
        if self._val_source is None:
            self.best_step = self.step
            self._save_weights()
        content = {
            "step": self.step,
            "network": self._network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "pending": self._pending,
            "best": asdict(self.best) if self.best else None,
            "best_step": self.best_step,
            "validated": self.validated,
            "without_better": self._without_better,
        }
        if self._here.first:
            write_state(self._folder, self._identity, content)

    def restore(self) -> None:
        """Go on from the folder's training state, if there is one."""
        state = read_state(self._folder, self._identity)
        if state is None:
            return
        self._network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.step = self.begun_at = state["step"]
        self._pending = [tuple(row) for row in state["pending"]]
        self.best = RankEvaluation(**state["best"]) if state["best"] else None
        self.best_step = state["best_step"]
        # States of before there was the key were saved after the validation.
        self.validated = state.get("validated", self.step)
        self._without_better = state["without_better"]

    @property
    def _ended(self) -> bool:
        return self.step >= self._config.steps or self.patience_ended

    def _scores(self, batch: Batch) -> Tensor:
        """``(N, heads)`` of this process's share, with their graph."""
        config, images = self._config, self._seen(batch)
        with mixed(config.precision == "bfloat16", images.device):
            # The published code's two passes: first members, then second ones.
            parts = images.chunk(2) if config.as_published else (images,)
            scores = torch.cat([self._shared(part) for part in parts])
        return scores.reshape(len(images), -1)

    def _seen(self, batch: Batch) -> Tensor:
        """This process's share of the images as the network is to see them in this step."""
        config, device = self._config, self._here.device
        images = batch.images.to(device, non_blocking=True)
        # Processes see their contents through views of their own.
        draw = torch.Generator().manual_seed(
            1_000_003 * config.seed + self.step + 7_919 * self._here.rank
        )
        images = content_views(images, batch.group, config.jitter, draw)
        if config.noise > 0:
            images = images + noise(batch.group, images.shape, config.noise / 255, draw).to(device)
        return images

    def _contents(self, group: Tensor) -> Tensor:
        """Which content each image of the joint batch shows: no number is in two processes."""
        return self._here.joint(group * self._here.count + self._here.rank)

    def _evaluate(self) -> tuple[RankEvaluation, list[ScoreScale | None]]:
        """Agreement of the first head, and where the scores of each head lie."""
        source = cast(PairSource, self._val_source)
        evaluations, scales = [], []
        for index, head in enumerate(self._heads()):
            ranker = Ranker(
                self._network,
                head=index,
                higher_is_better=bool(head.higher_is_better),
                device=self._here.device,
            )
            predictions = predict({"ranker": ranker}, source, metric=head.metric)["ranker"]
            evaluations.append(RankEvaluation.of(predictions, min_gap=self._config.min_gap))
            scores, _ = predictions.by_image
            if not bool(scores.isfinite().all()):
                raise UndefinedScore(
                    f"the Ranker gives a score of {head.metric} that is not finite at step "
                    f"{self.step}"
                )
            mean, std = float(scores.mean()), float(scores.std())
            scales.append(ScoreScale(mean, std) if std > 0 else None)
        return evaluations[0], scales

    def _heads(self) -> list[Head]:
        further = [Head(name, self._info.further[name]) for name in self._config.further]
        return [Head(self._info.metric, self._info.higher_is_better), *further]

    def _begin(self, batch: Batch) -> None:
        """Set what the first batch decides and would take thousands of steps to learn."""
        network = self._network
        if self._begun:
            return
        if isinstance(network, NSS):
            network.standardise(self._here.joint(network.statistics(self._seen(batch))))
        elif "regression" in self._config.losses:
            values = self._here.joint(batch.values.to(self._here.device))
            with torch.no_grad():
                network.get_parameter("classifier.2.bias").copy_(values.mean(0))

    def _save_weights(self, scales: Sequence[ScoreScale | None] = ()) -> None:
        if not self._here.first:
            return
        pairs = zip_longest(self._heads(), scales)
        heads = [replace(head, scale=scale) for head, scale in pairs]
        save_weights(
            self._folder / WEIGHTS_FILE,
            self._network.state_dict(),
            kind=KIND,
            architecture=self._network.architecture,
            options=self._network.options,
            about={
                **heads_about(heads),
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


def _begin_from(network: Network, start: Network, path: Path) -> None:
    wanted, found = ({"architecture": one.architecture, **one.options} for one in (network, start))
    differences = [
        f"{key} is {found.get(key)} and not {value}"
        for key, value in wanted.items()
        if found.get(key) != value
    ]
    if differences:
        raise InvalidCheckpoint(
            f"{path} holds another Ranker than is to be trained: {', '.join(differences)}",
            field=str(path),
        )
    network.load_state_dict(start.state_dict())


def _in_order(scores: Tensor, values: Tensor, contents: Tensor, min_gap: float) -> tuple[int, int]:
    """Pairs of one content that come out in the right order, and pairs that have an order."""
    has_order = ordered(values, contents, min_gap)
    right = has_order & (scores[:, None] > scores[None, :])
    return int(right.sum()), int(has_order.sum())
