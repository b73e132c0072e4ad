"""One step of a training: the generator's update, then the discriminator's on the same images.

The images of a step are ``data.batch``, however they are shared out: each process takes an equal
share, and ``optimiser.accumulate`` divides that into parts that go through the networks one after
the other. Losses are means over images, so that the mean of the parts' gradients is that of the
joint batch. A discriminator's BatchNorm sees the processes' images together, but of the parts one
at a time; so do a relativistic loss, whose means are over the discriminator's outputs, and a
contrast of criteria, which compares means of losses.

Of a generator that shows several views of an image the criteria may look at different ones; the
discriminator learns from the fused one.

On a GPU the step is recorded as a CUDA graph where it is the same work each time, see
`unrecordable`: the same kernels in the same order, without Python between them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.device import mixed, tf32
from ranksrgan.contracts.errors import RankSRGANError, TrainingDiverged
from ranksrgan.contracts.processes import Processes, summing_only
from ranksrgan.contracts.recording import Recording, in_between, recording
from ranksrgan.srgan.data.crops import Batch
from ranksrgan.srgan.generators.generator import Views
from ranksrgan.srgan.losses import adversarial_loss, discriminator_loss, is_relativistic
from ranksrgan.srgan.training.objective import Objective
from ranksrgan.srgan.training.schedule import learning_rate
from ranksrgan.srgan.training.state import Training

log = logging.getLogger(__name__)


class _Part(NamedTuple):
    """Images that go through the networks at once, on the device, in [0, 1]."""

    lr: Tensor
    hr: Tensor


class _Generated(NamedTuple):
    """What the discriminator's update takes over from the generator's."""

    hr: Tensor
    sr: Tensor  # a constant
    real: Tensor | None  # the discriminator's outputs for HR with their graph, if they are known


class _Numbers(NamedTuple):
    """What is read of a step: its losses, and what else has to be finite."""

    losses: tuple[str, ...]
    others: tuple[str, ...]
    values: Tensor  # of all of them


class Step:
    """Takes a training one step further.

    Args:
        training: networks and optimisers; the caller counts its steps.
        objective: what the generator minimises.
        here: this process among those that share the batch.
        bfloat16: whether the networks' convolutions compute in it.
    """

    def __init__(
        self, training: Training, objective: Objective, here: Processes, bfloat16: bool
    ) -> None:
        self._training = training
        self._objective = objective
        self._here = here
        self._bfloat16 = bfloat16
        self._parts = training.config.optimiser.accumulate
        self._criterion = training.config.losses.adversarial.criterion
        if training.config.run.compile:
            for network in (training.generator, training.discriminator, objective.features):
                if isinstance(network, nn.Module):
                    network.compile(dynamic=False)  # in place: keys and copies are unaffected
        self._generator = here.share(training.generator)
        self._discriminator: nn.Module | None = None
        if training.discriminator is not None:
            self._discriminator = here.share(training.discriminator)
        self._do: Callable[[Tensor, Tensor], _Numbers] = lambda lr, hr: self._work(Batch(lr, hr))
        obstacle = unrecordable(training, objective, here)
        if obstacle is None:
            self._do = Recording(self._do, here.device)
        elif here.device.type == "cuda":
            log.info("steps are not recorded as a CUDA graph: %s", obstacle)
        #: Losses of the last call, as far as it came.
        self.losses: dict[str, float] = {}

    def __call__(self, batch: Batch) -> dict[str, float]:
        """The step on this process's share of the batch.

        Returns:
            The losses of the joint batch by name, each before its update.

        Raises:
            TrainingDiverged: a loss or gradient is not finite in one of the processes. Then the
                networks may hold what is not finite too, and are to be given up.
            ServiceUnavailable, DeadlineExceeded, RequestCancelled: in one of the processes a remote
                Ranker has gone, or nobody waits any more; nothing has changed.
        """
        self.losses = {}
        self._set_rates()
        numbers = self._do(*batch)
        if self._training.average is not None:
            self._training.average.n_averaged += 1
        self._read(numbers)
        return self.losses

    def _set_rates(self) -> None:
        training, config = self._training, self._training.config.optimiser
        for optimiser, base in (
            (training.generator_optimiser, config.generator_lr),
            (training.discriminator_optimiser, config.discriminator_lr),
        ):
            rate = learning_rate(config.schedule, base, training.step + 1, config.warmup)
            for group in optimiser.param_groups if optimiser else ():
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(rate)
                else:
                    group["lr"] = rate

    def _work(self, batch: Batch) -> _Numbers:
        """All that a step does on the device."""
        losses, generated = self._update_generator(self._divide(batch))
        others = {"the generator's gradient": _gradient_norm(self._training.generator)}
        if self._discriminator is not None and self._training.discriminator_optimiser is not None:
            losses["discriminator"] = self._update_discriminator(
                self._discriminator, self._training.discriminator_optimiser, generated
            )
            others["the discriminator's gradient"] = _gradient_norm(self._discriminator)
        if recording():
            # Otherwise they have been looked at already.
            sums = torch.stack([part.sr.sum() for part in generated])
            others["the sum of the generator's pixels"] = sums.sum()
        values = torch.stack([value.float() for value in (*losses.values(), *others.values())])
        return _Numbers(tuple(losses), tuple(others), values)

    def _divide(self, batch: Batch) -> list[_Part]:
        lr, hr = (
            image.to(self._here.device).to(torch.float32, memory_format=torch.channels_last) / 255
            for image in batch
        )
        pairs = zip(lr.chunk(self._parts), hr.chunk(self._parts), strict=True)
        return [_Part(*pair) for pair in pairs]

    def _update_generator(self, parts: list[_Part]) -> tuple[dict[str, Tensor], list[_Generated]]:
        training = self._training
        optimiser, discriminator = training.generator_optimiser, training.discriminator
        optimiser.zero_grad(set_to_none=True)
        statistics = []
        if discriminator is not None and self._parts > 1:
            statistics = [buffer.clone() for buffer in discriminator.buffers()]
        terms, generated = [], []
        try:
            for number, part in enumerate(parts):
                with self._until_last(self._generator, number):
                    found, images = self._generate(number, part)
                    found["generator"] = self._objective.total(found)
                    self._backward(found["generator"])
                terms.append({name: value.detach() for name, value in found.items()})
                generated.append(images)
        except RankSRGANError:
            if discriminator is not None:
                for buffer, before in zip(discriminator.buffers(), statistics, strict=False):
                    buffer.copy_(before)
            raise
        optimiser.step()
        training.follow()
        names = terms[0]
        return {name: _mean([part[name] for part in terms]) for name in names}, generated

    def _generate(self, number: int, part: _Part) -> tuple[dict[str, Tensor], _Generated]:
        """The generator's terms of one part, with their graph."""
        lr, hr = part
        here, discriminator, shared = (
            self._here,
            self._training.discriminator,
            self._discriminator,
        )
        with mixed(self._bfloat16, here.device):
            views = Views.of(self._generator(lr))

        def content() -> dict[str, Tensor]:
            cancellation.check()
            if self._objective.asks_services or not recording():
                made = views.fused.detach()
                in_between(lambda: self._require_finite(made))
            return self._objective.before_discriminator(
                views,
                hr,
                self._bfloat16,
                self._training.step,
                part=here.rank * self._parts + number,
                parts=here.count * self._parts,
            )

        terms = here.together(content)
        real: Tensor | None = None
        if discriminator is not None and shared is not None:
            if is_relativistic(self._criterion):
                # The generator's update does not change the discriminator: one pass serves both,
                # if its graph need not be kept beside those of other parts.
                with torch.set_grad_enabled(self._parts == 1):
                    real = self._judge(shared, hr)
            discriminator.requires_grad_(False)
            try:
                losses = {
                    view: adversarial_loss(
                        self._judge(discriminator, views.view(view)), real, self._criterion
                    )
                    for view in self._objective.judged
                }
            finally:
                discriminator.requires_grad_(True)
            terms |= self._objective.after_discriminator(terms, losses, here.joint)
        return terms, _Generated(hr, views.fused.detach(), real if self._parts == 1 else None)

    def _update_discriminator(
        self, network: nn.Module, optimiser: torch.optim.Adam, generated: list[_Generated]
    ) -> Tensor:
        optimiser.zero_grad(set_to_none=True)
        losses = []
        for number, (hr, sr, real) in enumerate(generated):
            with self._until_last(network, number):
                # Two passes, as published: each batch is normalised by its own statistics, and
                # those of the generated one are then the same here as in the generator's update.
                real = self._judge(network, hr) if real is None else real
                loss = discriminator_loss(real, self._judge(network, sr), self._criterion)
                self._backward(loss)
            losses.append(loss.detach())
        optimiser.step()
        return _mean(losses)

    def _backward(self, loss: Tensor) -> None:
        with tf32(self._bfloat16, self._here.device):
            (loss / self._parts).backward()  # type: ignore[no-untyped-call]

    def _judge(self, network: nn.Module, images: Tensor) -> Tensor:
        """The discriminator's outputs for the images of all processes, in float32."""
        with mixed(self._bfloat16, self._here.device):
            outputs: Tensor = network(images)
        return self._here.joint(outputs.float())

    def _until_last(self, network: nn.Module, number: int) -> AbstractContextManager[object]:
        """Processes average their gradients once, with the last part."""
        return summing_only(network) if number < self._parts - 1 else nullcontext()

    def _require_finite(self, sr: Tensor) -> None:
        """Before a remote Ranker is given the images."""
        if not bool(sr.sum().isfinite()):
            raise self._diverged(["the generator makes pixels that are not finite"])

    def _read(self, numbers: _Numbers) -> None:
        """Fetch the numbers of the whole step, all at once."""
        read = self._here.mean(numbers.values).tolist()
        count = len(numbers.losses)
        self.losses = dict(zip(numbers.losses, read[:count], strict=True))
        others = dict(zip(numbers.others, read[count:], strict=True))
        for found in (self.losses, others):
            wrong = [f"{name} is {v}" for name, v in found.items() if not math.isfinite(v)]
            if wrong:
                raise self._diverged(wrong)

    def _diverged(self, wrong: list[str]) -> TrainingDiverged:
        return TrainingDiverged(f"step {self._training.step + 1}: {', '.join(wrong)}")


def unrecordable(training: Training, objective: Objective, here: Processes) -> str | None:
    """Why the steps of a training are not recorded as a CUDA graph; None if they are."""
    run = training.config.run
    if here.device.type != "cuda":
        return "that takes a GPU"
    if not run.graph:
        return "run.graph is false"
    if here.count > 1:
        return "several processes share a step"
    if objective.asks_services and training.config.optimiser.accumulate > 1:
        return "between the parts of a step a service is asked"
    return objective.changes


def _mean(parts: list[Tensor]) -> Tensor:
    return torch.stack(parts).mean() if len(parts) > 1 else parts[0]


def _gradient_norm(network: nn.Module) -> Tensor:
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    return torch.nn.utils.get_total_norm(gradients)
