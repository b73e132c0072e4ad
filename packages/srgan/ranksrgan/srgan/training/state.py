"""Everything a training has learnt so far, and how it survives the process.

``last.state.pt`` is the truth: one file, replaced as a whole and last, so that a kill between two
files makes the next run repeat the steps that lead to those already written. The ``.safetensors``
beside it are for those who want the weights alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.optim import Adam
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ranksrgan.contracts.checkpoint import load_state, load_weights, save_state
from ranksrgan.contracts.device import place
from ranksrgan.contracts.errors import InvalidCheckpoint, InvalidConfig, TrainingDiverged
from ranksrgan.metrics.synced_norm import sync_norms
from ranksrgan.srgan.config import TrainConfig
from ranksrgan.srgan.discriminators import (
    DISCRIMINATORS,
    Discriminator,
    load_discriminator,
    save_discriminator,
)
from ranksrgan.srgan.generators.architectures import TRAINABLE, load_generator, save_generator
from ranksrgan.srgan.generators.generator import Generator, Views
from ranksrgan.srgan.generators.two_view_rrdbnet import TwoViewRRDBNet
from ranksrgan.srgan.network import Network
from ranksrgan.srgan.shipped import SHIPPED

log = logging.getLogger(__name__)

STATE_FILE = "last.state.pt"
GENERATOR_FILE = "generator.safetensors"
DISCRIMINATOR_FILE = "discriminator.safetensors"
BEST_FILE = "best.safetensors"
#: Weights that a training may start from; one that goes on does without them.
START_WEIGHTS = ("generator.weights", "generator.trunk_weights", "discriminator.weights")
FILES = (STATE_FILE, GENERATOR_FILE, DISCRIMINATOR_FILE, BEST_FILE)

#: Keys that a resumed run may change, because no step depends on them. Images, Rankers, scorers and
#: weights to start from are compared by their content instead: the same ones may have moved to
#: another address.
FREE_KEYS = (
    "run.steps",
    "run.save_every",
    "run.log_every",
    "run.tensorboard",
    "run.graph",
    "data.memory_mib",
    "data.workers",
    "data.hr",
    "data.lr",
    "data.degradation.noise",
    "data.degradation.kernels",
    *START_WEIGHTS,
    "losses.rank.rankers",
    "losses.rank.timeout",
    "losses.rank.retry_for",
    "losses.scorers",
    "validation.hr",
    "validation.lr",
    "validation.if_available",
)
#: Of these a state from before they were compared says nothing.
_YOUNGER_INPUTS = ("validation.hr", *START_WEIGHTS)


@dataclass
class Training:
    """Networks, optimisers and how far they have come.

    Attributes:
        average: the moving average of the generator's weights, if ``optimiser.ema`` asks for one.
        step: the last completed step.
        best: ``{"step", "value"}`` of the best validation so far, the value that of
            `BestRule.value`; empty before the first.
        best_first: of a state that was restored: the first of its metrics, whose direction the
            value has; empty if it is one alone.
        scores: of the last validation.
        validated: the step of the last validation, -1 before the first.
        recent: step and scores of the last validations, as far back as a drift alarm looks.
        alarms: ``step`` and ``message`` of each drift alarm.
        saved: the step of the state on disk; None before there is one.
    """

    config: TrainConfig
    generator: Generator
    discriminator: Discriminator | None
    generator_optimiser: Adam
    discriminator_optimiser: Adam | None
    average: AveragedModel | None = None
    step: int = 0
    best: dict[str, float] = field(default_factory=dict)
    best_first: str = ""
    scores: dict[str, float | None] = field(default_factory=dict)
    validated: int = -1
    recent: list[tuple[int, dict[str, float | None]]] = field(default_factory=list)
    alarms: list[dict[str, int | str]] = field(default_factory=list)
    saved: int | None = None

    @classmethod
    def start(
        cls,
        config: TrainConfig,
        device: torch.device,
        *,
        joint_norms: bool = False,
        goes_on: bool = False,
    ) -> Training:
        """Networks from the configured weights, or random ones that ``run.seed`` decides.

        With ``joint_norms`` BatchNorm normalises over the images of all processes, see
        `sync_norms`. A training that goes on is about to `restore` its weights, and does not want
        those that it has started from: they may have gone.

        Raises:
            InvalidCheckpoint: see `load_generator` and `load_discriminator`.
            InvalidConfig: weights of another size than the configuration says.
            InvalidInput: trunk weights likewise, see `TwoViewRRDBNet.start_trunk`.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.run.seed)
            generator = place(_generator(config, goes_on), device)
            discriminator = _discriminator(config, goes_on)
            if discriminator is not None:
                place(discriminator, device)
        for network in (generator, discriminator):
            if joint_norms and network is not None:
                sync_norms(network)
        optimiser = config.optimiser
        discriminator_optimiser = None
        if discriminator is not None:
            discriminator_optimiser = _adam(
                discriminator, optimiser.discriminator_lr, optimiser.betas, device
            )
        average = None
        if optimiser.ema > 0:
            ema = get_ema_multi_avg_fn(optimiser.ema)  # type: ignore[no-untyped-call]
            average = AveragedModel(generator, multi_avg_fn=ema)
            average.update_parameters(generator)  # it starts where the generator does
        return cls(
            config=config,
            generator=generator.train(),
            discriminator=discriminator,
            generator_optimiser=_adam(generator, optimiser.generator_lr, optimiser.betas, device),
            discriminator_optimiser=discriminator_optimiser,
            average=average,
        )

    @property
    def result(self) -> Generator:
        """What is validated and written: the average of the generator if there is one."""
        return cast(Generator, self.average.module) if self.average else self.generator

    def follow(self) -> None:
        """Move the average of the generator's weights one step on; `n_averaged` is not counted.

        The arithmetic of `AveragedModel`, which looks at that count, and so reads from the device.
        """
        if self.average is None:
            return
        ours, theirs = self.average.module, self.generator
        with torch.no_grad():
            torch._foreach_lerp_(
                list(ours.parameters()), list(theirs.parameters()), 1 - self.config.optimiser.ema
            )
            for own, followed in zip(ours.buffers(), theirs.buffers(), strict=True):
                own.copy_(followed)

    def save(self, folder: Path, inputs: Mapping[str, str]) -> Path:
        """Write state and weights of the last completed step.

        Args:
            folder: of the run.
            inputs: what else decides the steps (images, Rankers), for `restore` to compare.

        Returns:
            The path of the state.

        Raises:
            TrainingDiverged: a weight is not finite; the files of an earlier step stay.
            DiskFull: no room; the state of an earlier step stays.
        """
        networks: dict[str, nn.Module] = {"generator": self.generator}
        optimisers = {"generator": self.generator_optimiser}
        if self.discriminator is not None and self.discriminator_optimiser is not None:
            networks["discriminator"] = self.discriminator
            optimisers["discriminator"] = self.discriminator_optimiser
        if self.average is not None:
            networks["average"] = self.average
        for name, network in networks.items():
            self._require_finite(name, network.state_dict())
        self.export(folder / GENERATOR_FILE)
        if self.discriminator is not None:
            save_discriminator(folder / DISCRIMINATOR_FILE, self.discriminator, {"step": self.step})
        state = folder / STATE_FILE
        save_state(
            state,
            {
                "step": self.step,
                "config": self.config.model_dump(mode="json"),
                "inputs": dict(inputs),
                "best": self.best,
                "scores": self.scores,
                "validated": self.validated,
                "recent": self.recent,
                "alarms": self.alarms,
                "networks": {name: network.state_dict() for name, network in networks.items()},
                "optimisers": {
                    name: optimiser.state_dict() for name, optimiser in optimisers.items()
                },
            },
        )
        self.saved = self.step
        return state

    def require_pictures(self, lr: Tensor) -> None:
        """Make pictures of LR images, ``(N, 3, H, W)`` in units of 8 bits, one after the other.

        Weights may be finite and their pictures not: a state of them would take the place of one
        that can be continued.

        Raises:
            TrainingDiverged: a pixel is not finite.
        """
        network = self.result
        device = next(network.parameters()).device
        with torch.no_grad():
            # Not as compiled, if it is: that is for the shape of a batch, with gradients.
            made = [network.forward(image.to(device).float() / 255) for image in torch.split(lr, 1)]
            sums = [Views.of(one).fused.sum() for one in made]
        if not bool(torch.stack(sums).isfinite().all()):
            raise TrainingDiverged(
                f"step {self.step}: the generator makes pixels that are not finite"
            )

    def export(self, path: Path) -> None:
        """Write the `result` as it is now, with its scores if they are of this step."""
        scores = self.scores if self.validated == self.step else {}
        save_generator(path, self.result, {"step": self.step, "scores": scores})

    def restore(self, path: Path, inputs: Mapping[str, str]) -> dict[str, str]:
        """Continue from a state.

        Returns:
            What the state says of weights that it has started from and that are no longer there.

        Raises:
            InvalidCheckpoint: damaged, or no state of such a training.
            InvalidConfig: the configuration or an input differs in what decides the steps; names
                the keys.
        """
        state = load_state(path)
        try:
            differing = differing_keys(
                _completed(state["config"]), self.config.model_dump(mode="json")
            )
            before: dict[str, str] = state["inputs"]
            # What a state does not name was not there when it was written.
            differing += [
                f"{key} (its content)"
                for key in inputs
                if before.get(key, "") != inputs[key]
                and not (key in _YOUNGER_INPUTS and key not in before)
            ]
            gone = {key: before.get(key, "") for key in START_WEIGHTS if key not in inputs}
            if differing:
                raise InvalidConfig(
                    f"{path} belongs to a training that differs in {'; '.join(differing)}: use "
                    "another folder (at a service another name), with this one's "
                    f"{GENERATOR_FILE} (there its name) as generator.weights to go on from it; "
                    "the command train starts this one anew with --restart",
                    field=differing[0].split(" ")[0].rstrip(":"),
                )
            if state["step"] > self.config.run.steps:
                raise InvalidConfig(
                    f"{path} is at step {state['step']} already; run.steps is "
                    f"{self.config.run.steps} and may only grow",
                    field="run.steps",
                )
            self.generator.load_state_dict(state["networks"]["generator"])
            _load(self.generator_optimiser, state["optimisers"]["generator"])
            if self.discriminator is not None and self.discriminator_optimiser is not None:
                self.discriminator.load_state_dict(state["networks"]["discriminator"])
                _load(self.discriminator_optimiser, state["optimisers"]["discriminator"])
            if self.average is not None:
                self.average.load_state_dict(state["networks"]["average"])
            self.step, self.best = state["step"], dict(state["best"])
            best_by = state["config"].get("validation", {}).get("best")
            self.best_first = next(iter(best_by)) if isinstance(best_by, dict) else ""
            self.scores, self.validated = state["scores"], state["validated"]
            self.recent = [tuple(row) for row in state.get("recent", [])]
            self.alarms = state.get("alarms", [])
            self.saved = self.step
            return gone
        except (KeyError, TypeError, RuntimeError) as error:
            raise InvalidCheckpoint(
                f"{path} is no state of this kind of training: {error}", field=str(path)
            ) from error

    def _require_finite(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        for key, value in tensors.items():
            if value.is_floating_point() and not bool(value.isfinite().all()):
                raise TrainingDiverged(
                    f"step {self.step}: the {name}'s {key} is not finite", field=key
                )


def start_weights(config: TrainConfig) -> dict[str, str]:
    """sha256 of the weights that a training starts from; empty where none are, and left out where
    they are no longer.

    Raises:
        InvalidCheckpoint: see `load_weights`.
        MissingAsset: see `ShippedWeights.path`.
    """
    generator, discriminator = config.generator, config.discriminator
    paths = (
        generator.weights,
        generator.trunk_weights,
        discriminator.weights if discriminator else None,
    )
    found: dict[str, str] = {}
    for key, path in zip(START_WEIGHTS, paths, strict=True):
        file = None if path is None else SHIPPED.resolve(path)
        if file is None:
            found[key] = ""
        elif file.is_file():
            found[key] = load_weights(file).sha256
        else:
            log.warning("%s: %s is not there; it is not compared", key, path)
    return found


def differing_keys(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Keys, with both values, in which two configurations differ and may not.

    How a validation makes and compares its images does not count where there is none: recipes have
    learnt to say it later than states were written.
    """
    old, new = _flat(before), _flat(now)
    validating = old.get("validation.hr") or new.get("validation.hr")
    free = FREE_KEYS if validating else (*FREE_KEYS, "validation.degradation", "validation.border")
    return [
        f"{key}: {old.get(key)} then, {new.get(key)} now"
        for key in sorted(old.keys() | new.keys())
        if key not in free and old.get(key) != new.get(key)
    ]


def _completed(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """A configuration as a state holds it, with the defaults of keys that are younger than it."""
    try:
        return TrainConfig.model_validate(config).model_dump(mode="json")
    except ValidationError:
        return config  # a key has gone: the comparison will name it


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _generator(config: TrainConfig, goes_on: bool) -> Generator:
    wanted = config.generator

    def make() -> Generator:
        return TRAINABLE[wanted.architecture](**wanted.options())

    if wanted.weights is None or goes_on:
        network = make()
        trunk = None if goes_on else wanted.trunk_weights
        if trunk is not None and isinstance(network, TwoViewRRDBNet):
            network.start_trunk(load_generator(trunk))
        return network
    network = load_generator(wanted.weights, wanted.scale)
    _require_alike(network, make, wanted.weights)
    return network


def _discriminator(config: TrainConfig, goes_on: bool) -> Discriminator | None:
    wanted = config.discriminator
    if wanted is None:
        return None

    def make() -> Discriminator:
        return DISCRIMINATORS[wanted.architecture](wanted.width)

    if wanted.weights is None or goes_on:
        return make()
    network = load_discriminator(wanted.weights)
    _require_alike(network, make, wanted.weights)
    return network


def _adam(
    network: nn.Module, rate: float, betas: tuple[float, float], device: torch.device
) -> Adam:
    """On a GPU all of it is one kernel: a small network's steps are bound by launching them.

    That kernel may be recorded in a CUDA graph; the learning rate, which changes, is a tensor then.
    """
    if device.type == "cpu":
        return Adam(network.parameters(), rate, betas)
    on_device = torch.tensor(rate, device=device)
    return Adam(network.parameters(), on_device, betas, fused=True, capturable=True)


def _load(optimiser: Adam, state: Mapping[str, Any]) -> None:
    """What the optimiser has learnt; how it goes on is the configuration's and the device's."""
    groups = [
        {**now, "params": then["params"]}
        for now, then in zip(optimiser.param_groups, state["param_groups"], strict=True)
    ]
    optimiser.load_state_dict({"state": state["state"], "param_groups": groups})


def _require_alike(network: Network, make: Callable[[], Network], path: Path) -> None:
    """A network that was read is to be what the configuration would make."""
    with torch.device("meta"):  # without memory, and without drawing random numbers
        wanted = make()
    if str(network) != str(wanted):
        raise InvalidConfig(
            f"{path} holds {network}; the configuration says {wanted}",
            field=f"{network.kind}.weights",
        )
