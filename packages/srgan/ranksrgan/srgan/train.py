"""Training a generator: SRResNet, SRGAN and RankSRGAN differ in their losses' weights alone."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.curves import Curves
from ranksrgan.contracts.device import choose_device, computes_in_bfloat16, mixed
from ranksrgan.contracts.errors import (
    DeadlineExceeded,
    RequestCancelled,
    ServiceUnavailable,
    TrainingDiverged,
)
from ranksrgan.contracts.interruption import stop_requested
from ranksrgan.contracts.provenance import write_run_record
from ranksrgan.contracts.scorer import Scorer
from ranksrgan.srgan.config import TrainConfig
from ranksrgan.srgan.data import Batch, CropSource, open_crops
from ranksrgan.srgan.features import FeatureNetwork
from ranksrgan.srgan.losses import adversarial_loss, discriminator_loss
from ranksrgan.srgan.objective import Objective, Rankers, choose_features, open_rankers
from ranksrgan.srgan.schedule import learning_rate
from ranksrgan.srgan.state import (
    BEST_FILE,
    DISCRIMINATOR_FILE,
    GENERATOR_FILE,
    STATE_FILE,
    Training,
)
from ranksrgan.srgan.validate import Validation

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    """What a training left behind.

    Attributes:
        step: the last completed step.
        finished: False if a signal stopped it early.
        generator: weights of the last step.
        discriminator: likewise; None without one.
        best: weights of the best validation; None without validation.
        scores: of the last validation.
    """

    step: int
    finished: bool
    generator: Path
    discriminator: Path | None
    best: Path | None
    scores: dict[str, float | None]


def train(
    config: TrainConfig,
    folder: Path,
    *,
    rankers: Rankers | None = None,
    feature_network: FeatureNetwork | None = None,
    validation_scorers: Mapping[str, Scorer] | None = None,
    resume: bool = True,
    on_step: Callable[[int, Mapping[str, float]], None] | None = None,
) -> TrainResult:
    """Train a generator, and a discriminator against it if the configuration has one.

    Args:
        config: what to do.
        folder: takes checkpoints, curves and the resolved configuration.
        rankers: of the rank loss, each with its weight; None opens those of the configuration.
            With ``losses.rank.weight`` 0 they take part in the validation only.
        feature_network: of the perceptual loss, on the training's device; None opens the
            configured one.
        validation_scorers: further scorers of the validation, by the name of their column.
        resume: continue from the folder's state if it has one; otherwise start anew.
        on_step: called after each step with the losses.

    Raises:
        InvalidConfig: an impossible combination, or a state of another configuration.
        InvalidInput, InvalidImage, InvalidDataset: a folder of images, or one of them.
        InvalidCheckpoint, MissingAsset: weights to start from, or of a Ranker or VGG19.
        TrainingDiverged: a loss or weight is not finite; the last good state is kept.
        ServiceUnavailable, DeadlineExceeded, RequestCancelled: a remote Ranker has gone, or nobody
            waits any more; the state of the last completed step is saved first.
    """
    device = choose_device(config.run.device, field="run.device")
    bfloat16 = computes_in_bfloat16(config.run.precision, device)
    rankers = open_rankers(config) if rankers is None else rankers
    features = choose_features(config, feature_network, device)
    objective = Objective(config, rankers, features)
    validation = None
    if config.validation.hr is not None:
        validation = Validation(config, rankers, validation_scorers or {})
    crops = open_crops(config)
    inputs = _fingerprints(crops, rankers, features)

    training = Training.start(config, device)
    state = folder / STATE_FILE
    if resume and state.is_file():
        training.restore(state, inputs)
        log.info("continuing from step %d of %s", training.step, state)
    else:
        # A kill before the first checkpoint of a new run must not bring an old one back.
        for name in (STATE_FILE, BEST_FILE):
            (folder / name).unlink(missing_ok=True)
    write_run_record(folder, config, config.run.seed)
    log.info(
        "%d images, %s, %s", len(crops), device, "bfloat16 where safe" if bfloat16 else "float32"
    )

    steps, run = config.run.steps, config.run
    curves = Curves(
        folder,
        losses=["generator_lr", *objective.names, "seconds"],
        scores=validation.columns if validation else [],
        step=training.step,
        tensorboard=run.tensorboard,
    )
    progress = tqdm(total=steps, initial=training.step, unit="step", disable=None)
    batches = crops.batches(training.step + 1, steps)
    with curves, progress, closing(batches), stop_requested() as stopping:  # type: ignore[type-var]
        try:
            if training.validated != training.step:
                _validate(training, validation, curves, folder)
            rows: list[dict[str, float]] = []
            began = time.perf_counter()
            for batch in batches:
                cancellation.check()
                step = training.step + 1
                values = _step(training, step, batch, objective, bfloat16, device)
                training.step = step
                progress.update()
                rows.append({**values, "seconds": time.perf_counter() - began})
                if step % run.log_every == 0 or step == steps:
                    rate = training.generator_optimiser.param_groups[0]["lr"]
                    curves.losses(step, {"generator_lr": rate, **_means(rows)})
                    rows.clear()
                    progress.set_postfix({name: f"{value:.4g}" for name, value in values.items()})
                _validate(training, validation, curves, folder)
                if on_step is not None:
                    on_step(step, values)
                stop = stopping()
                if step % run.save_every == 0 or step == steps or stop:
                    training.save(folder, inputs)
                if stop:
                    break
                began = time.perf_counter()
        except (ServiceUnavailable, DeadlineExceeded, RequestCancelled) as error:
            saved = training.save(folder, inputs)
            raise type(error)(
                f"{error}; the training is saved at step {training.step} in {saved}: the same "
                "command continues it",
                field=error.field,
            ) from error
    return TrainResult(
        step=training.step,
        finished=training.step >= steps,
        generator=folder / GENERATOR_FILE,
        discriminator=folder / DISCRIMINATOR_FILE if training.discriminator else None,
        best=folder / BEST_FILE if training.best else None,
        scores=training.scores,
    )


def _step(
    training: Training,
    step: int,
    batch: Batch,
    objective: Objective,
    bfloat16: bool,
    device: torch.device,
) -> dict[str, float]:
    """One step of the generator, then one of the discriminator on the same images."""
    config = training.config.optimiser
    lr, hr = (
        image.to(device).to(torch.float32, memory_format=torch.channels_last) / 255
        for image in batch
    )
    generator, discriminator = training.generator, training.discriminator

    with mixed(bfloat16, device):
        sr = generator(lr)
    terms = objective.before_discriminator(sr, hr, bfloat16, training.step)
    if discriminator is not None:
        discriminator.requires_grad_(False)
        with mixed(bfloat16, device):
            fake = discriminator(sr)
        terms["adversarial"] = adversarial_loss(fake.float())
    total = objective.total(terms)
    values = _finite({**terms, "generator": total}, step)
    _descend(
        training.generator_optimiser,
        total,
        learning_rate(config.schedule, config.generator_lr, step),
    )

    if training.average is not None:
        training.average.update_parameters(generator)

    if discriminator is not None and training.discriminator_optimiser is not None:
        discriminator.requires_grad_(True)
        # Two passes, as published: each batch is normalised by its own statistics, and those of
        # the generated one are then the same here as in the generator's step above.
        with mixed(bfloat16, device):
            real, fake = discriminator(hr), discriminator(sr.detach())
        loss = discriminator_loss(real.float(), fake.float())
        values |= _finite({"discriminator": loss}, step)
        _descend(
            training.discriminator_optimiser,
            loss,
            learning_rate(config.schedule, config.discriminator_lr, step),
        )
    return values


def _descend(optimiser: torch.optim.Adam, loss: Tensor, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()


def _finite(terms: Mapping[str, Tensor], step: int) -> dict[str, float]:
    numbers = torch.stack([term.detach().float() for term in terms.values()]).tolist()
    values = dict(zip(terms, numbers, strict=True))
    wrong = [f"{name} is {value}" for name, value in values.items() if not math.isfinite(value)]
    if wrong:
        raise TrainingDiverged(
            f"step {step}: {', '.join(wrong)}; the last checkpoint is kept. Lower the learning "
            "rate or use run.precision=float32"
        )
    return values


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}


def _validate(
    training: Training, validation: Validation | None, curves: Curves, folder: Path
) -> None:
    """Validate if this step is one for it: the start, every so many steps, and the end."""
    step, config = training.step, training.config
    if validation is None or (step % config.validation.every and step != config.run.steps):
        return
    training.scores = validation.run(training.result)
    training.validated = step
    curves.scores(step, training.scores)
    value = training.scores[validation.best]
    # What the run starts from is not its result, even if it is better by the chosen metric.
    if step > 0 and value is not None and validation.improves(value, training.best.get("value")):
        training.best = {"step": step, "value": value}
        training.export(folder / BEST_FILE)


def _fingerprints(
    crops: CropSource, rankers: Rankers, features: FeatureNetwork | None
) -> dict[str, str]:
    """What decides the steps besides the configuration, for a resumed run to compare."""
    return {
        "data.hr": crops.fingerprint,
        "losses.rank.rankers": "; ".join(
            f"{weight:g} x {ranker.info.parameters_hash or ranker.info.name}"
            for ranker, weight in rankers
        ),
        "losses.perceptual.network": features.name if features else "",
    }
