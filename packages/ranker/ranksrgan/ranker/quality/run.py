"""A quality model's training between two of its steps."""

from __future__ import annotations

import logging
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.checkpoint import load_weights, save_weights
from ranksrgan.contracts.device import mixed, place
from ranksrgan.contracts.errors import (
    InvalidCheckpoint,
    InvalidConfig,
    TrainingDiverged,
    UndefinedScore,
)
from ranksrgan.contracts.some_names import some_names
from ranksrgan.metrics import plcc, srocc
from ranksrgan.ranker.heads import Head, ScoreScale, heads_about
from ranksrgan.ranker.networks import KIND
from ranksrgan.ranker.quality.config import FREE_ON_RESUME, QualityConfig
from ranksrgan.ranker.quality.model import QualityModel
from ranksrgan.ranker.quality.models import make_model
from ranksrgan.ranker.quality.objective import objective
from ranksrgan.ranker.quality.opinions import Opinions
from ranksrgan.ranker.quality.preference import Preference
from ranksrgan.ranker.quality.sorter import train_sorter
from ranksrgan.ranker.state import STATE_FILE, read_state, write_state

WEIGHTS_FILE = "quality.safetensors"

#: What the training of any quality model writes, see `alone_in`.
FILES = (STATE_FILE, WEIGHTS_FILE)

# Images that are scored at a time when a training is validated.
_AT_A_TIME = 8

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class QualityEvaluation:
    """How well a model's scores agree with people, over all images together.

    Attributes:
        images: how many.
        srcc: Spearman's correlation, below 0 where the scores run the wrong way.
        plcc: Pearson's after a cubic fit; 0 where all scores are equal, as ``srcc`` is then.
    """

    images: int
    srcc: float
    plcc: float

    @property
    def main(self) -> float:
        """NTIRE's main score, turned negative where the scores run the wrong way."""
        return self.srcc + math.copysign(self.plcc, self.srcc)


class QualityRun:
    """What `train_quality` steps through.

    Args:
        config: with device and precision resolved.
        learn: what to learn from.
        judge: chooses the best weights; None keeps the last.
        fingerprints: of both sources, for the training state.
        folder: of the run.
        device: where it computes.

    Attributes:
        step: how many updates were made.
        best: the best evaluation so far; None before the first.
        best_step: the step that it belongs to.
        validated: the step of the last validation; 0 before the first.
    """

    def __init__(
        self,
        config: QualityConfig,
        learn: Opinions,
        judge: Opinions | None,
        fingerprints: tuple[str, str],
        folder: Path,
        device: torch.device,
    ) -> None:
        self.step = 0
        self.best: QualityEvaluation | None = None
        self.best_step = 0
        self.validated = 0
        self._config, self._learn, self._judge = config, learn, judge
        self._folder, self._device = folder, device
        self._scale = learn.scale
        self._identity = {
            **config.model_dump(mode="json", exclude=set(FREE_ON_RESUME)),
            "training data": fingerprints[0],
            "validation data": fingerprints[1],
        }
        with torch.random.fork_rng([]):
            torch.manual_seed(config.seed)
            model = make_model(config.model, config.options)
            self._preference = Preference().to(device)
        if 0 < config.crop < model.min_side:
            raise InvalidConfig(
                f"crop={config.crop}: {config.model} with these options takes windows of "
                f"{model.min_side} pixels or more",
                field="crop",
            )
        learn.check_crop(config.crop, model.min_side)
        if judge is not None:
            judge.check_crop(crop=model.min_side, least=model.min_side)
        if config.backbone is not None:
            model.load_backbone(config.backbone)
        if config.start is not None:
            _start_from(config.start, model)
        self._model = place(model, device)
        self._ranks = None
        if config.sorter == "learned" and (config.losses or model.losses).get("ranks"):
            self._ranks = train_sorter(config.batch, seed=config.seed).to(device)
        self._optimiser = torch.optim.Adam(
            [*self._model.parameters(), *self._preference.parameters()],
            lr=config.lr,
            weight_decay=config.weight_decay,
        )
        # Losses since the last row of the curves.
        self._pending: list[float] = []

    @property
    def lr(self) -> float:
        """The step size of the next update."""
        progress = self.step / self._config.steps
        return self._config.lr * (1 + math.cos(math.pi * progress)) / 2

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do."""
        return self._ended and not self.validation_is_due

    @property
    def validation_is_due(self) -> bool:
        """Whether a validation is wanted after this step that has not been."""
        if self._judge is None or self.validated == self.step:
            return False
        return self._ended or self.step % self._config.validate_every == 0

    @property
    def save_is_due(self) -> bool:
        """Whether the step is one after which the state is saved."""
        return self._ended or self.step % self._config.save_every == 0

    def update(self) -> float:
        """One step of Adam; the loss before it."""
        config = self._config
        for group in self._optimiser.param_groups:
            group["lr"] = self.lr
        self._model.train()
        self._model.begin(self.step / config.steps)
        # What a model draws (dropout, patches) hangs on the step alone, so that a training goes on
        # as if it had never stopped.
        cuda = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(cuda):
            torch.manual_seed(7_919 * (config.seed + 1) + self.step)
            loss = self._cost()
            value = loss.item()
            if not math.isfinite(value):
                raise TrainingDiverged(
                    f"the loss is {value} at step {self.step + 1}; the last good state is kept in "
                    f"{self._folder / STATE_FILE} if one was saved. Try a smaller lr",
                    field="lr",
                )
            self._optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
        if config.clip > 0:
            nn.utils.clip_grad_norm_(self._model.parameters(), config.clip)
        self._optimiser.step()
        self._pending.append(value)
        self.step += 1
        return value

    def row_if_due(self) -> dict[str, float]:
        """The mean loss since the last row, every ``log_every`` steps and after the last step."""
        if self.step % self._config.log_every and self.step != self._config.steps:
            return {}
        losses, self._pending = self._pending, []
        return {"lr": self._optimiser.param_groups[0]["lr"], "loss": sum(losses) / len(losses)}

    def validate(self) -> QualityEvaluation:
        """Evaluate, and keep the weights if none were better.

        Raises:
            RequestCancelled: nobody waits for it any more; it stays due.
        """
        self._check_finite()
        opinions = cast(Opinions, self._judge)
        scores = predict(self._model, opinions, self._device, self._config.precision == "bfloat16")
        found = agreement(scores, opinions.every, rising=self._rising)
        if self.best is None or found.main > self.best.main:
            self.best, self.best_step = found, self.step
            deviation = float(scores.std())
            self._save_weights(
                ScoreScale(float(scores.mean()), deviation) if deviation > 0 else None
            )
        self.validated = self.step
        logger.info(
            "step %d: main %.4f, SRCC %.4f, PLCC %.4f (best so far: step %d)",
            *(self.step, found.main, found.srcc, found.plcc, self.best_step),
        )
        return found

    def save(self) -> None:
        """Write the training state, and the weights if no validation chooses them."""
        self._check_finite()
        if self._judge is None:
            self.best_step = self.step
            self._save_weights(None)
        content = {
            "step": self.step,
            "model": self._model.state_dict(),
            "preference": self._preference.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "pending": self._pending,
            "best": asdict(self.best) if self.best else None,
            "best_step": self.best_step,
            "validated": self.validated,
        }
        write_state(self._folder, self._identity, content)

    def restore(self) -> None:
        """Go on from the folder's training state, if there is one."""
        state = read_state(self._folder, self._identity)
        if state is None:
            return
        self._model.load_state_dict(state["model"])
        self._preference.load_state_dict(state["preference"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.step, self._pending = state["step"], list(state["pending"])
        self.best = QualityEvaluation(**state["best"]) if state["best"] else None
        self.best_step = state["best_step"]
        # States of before there was the key were saved after the validation.
        self.validated = state.get("validated", self.step)

    @property
    def _ended(self) -> bool:
        return self.step >= self._config.steps

    @property
    def _rising(self) -> bool:
        """Whether the model's scores rise with the opinions as they are written down."""
        return self._model.higher_is_better == self._learn.higher_is_better

    def _cost(self) -> Tensor:
        config = self._config
        batch = self._learn.batch(config, self.step, self._scale)
        images, references, values, group, kinds = (part.to(self._device) for part in batch)
        layout = torch.channels_last
        with mixed(config.precision == "bfloat16", self._device):
            scores, cost = self._model.learn(
                images.contiguous(memory_format=layout),
                references.contiguous(memory_format=layout),
                kinds,
            )
        scores = scores.float()
        if self.step < config.pretrain:
            better = scores if self._model.higher_is_better else -scores
            return self._preference.loss(better, values, config.scale)
        wanted = values if self._model.higher_is_better else -values
        losses = config.losses or dict(self._model.current_losses)
        loss = objective(losses, scores, wanted, group, scale=config.scale, ranks=self._ranks)
        return loss if cost is None else loss + cost.float()

    def _check_finite(self) -> None:
        for key, value in self._model.state_dict().items():
            if not bool(torch.isfinite(value).all()):
                raise TrainingDiverged(
                    f"{key} is not finite after step {self.step}; the last good state is kept in "
                    f"{self._folder / STATE_FILE} if one was saved. Try a smaller lr",
                    field="lr",
                )

    def _save_weights(self, scale: ScoreScale | None) -> None:
        mean, deviation, _ = self._scale
        save_weights(
            self._folder / WEIGHTS_FILE,
            self._model.state_dict(),
            kind=KIND,
            architecture=self._model.architecture,
            options=self._model.options,
            about={
                **heads_about([Head("opinions", self._model.higher_is_better, scale)]),
                "opinions": {"mean": mean, "deviation": deviation},
                "validation": asdict(self.best) if self.best else None,
                "steps": self.step,
            },
        )


def predict(
    model: QualityModel, opinions: Opinions, device: torch.device, bfloat16: bool = False
) -> Tensor:
    """``(images,)`` float64 scores of whole images, in the order of ``opinions.every``."""
    model.eval()
    found = []
    with torch.inference_mode(), mixed(bfloat16, device):
        for judged in opinions.sets:
            for images in torch.split(judged.images, _AT_A_TIME):
                cancellation.check()
                shown = (images.to(device).float() / 255).contiguous(
                    memory_format=torch.channels_last
                )
                reference = (judged.reference.to(device).float() / 255).expand_as(shown)
                found.append(
                    model(shown, reference.contiguous(memory_format=torch.channels_last))
                    .double()
                    .cpu()
                )
    return torch.cat(found)


def agreement(scores: Tensor, opinions: Tensor, *, rising: bool) -> QualityEvaluation:
    """How scores agree with opinions.

    Args:
        scores, opinions: ``(images,)``.
        rising: whether the two are meant to rise together.
    """
    predicted, truth = scores.tolist(), opinions.tolist()
    try:
        order, line = srocc(predicted, truth), plcc(predicted, truth, fit="cubic")
    except UndefinedScore:  # a network that says the same of all images
        order = line = 0.0
    return QualityEvaluation(len(truth), order if rising else -order, line)


def _start_from(path: Path, model: QualityModel) -> None:
    """Take what a file has of a model: all of it from one of its own kind; from another kind whole
    parts that both have, a backbone or the trunk of a WResNet."""
    weights = load_weights(path)
    own = model.state_dict()
    shared = {key: value for key, value in weights.tensors.items() if key in own}
    wrong = [key for key, value in shared.items() if value.shape != own[key].shape]
    parts = {_part(key) for key in wrong}
    fitting = {key: value for key, value in shared.items() if _part(key) not in parts}
    if wrong and (not fitting or weights.architecture in {None, model.architecture}):
        sizes = [
            f"{key} is {tuple(shared[key].shape)} and should be {tuple(own[key].shape)}"
            for key in wrong
        ]
        raise InvalidCheckpoint(
            f"{path} is of another size than {type(model).__name__} with these options: "
            f"{some_names(sizes)}",
            field="start",
        )
    if not fitting:
        raise InvalidCheckpoint(
            f"{path} has no tensor of the name and shape of one of {type(model).__name__}",
            field="start",
        )
    model.load_state_dict(fitting, strict=False)
    logger.info("%d of %d tensors start from %s", len(fitting), len(own), path)


def _part(key: str) -> str:
    return key.partition(".")[0]
