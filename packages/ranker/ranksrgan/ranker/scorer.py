"""A trained Ranker as a scorer that nothing can change any more, and that has a gradient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ranksrgan.contracts.checkpoint import Weights, load_into, load_weights
from ranksrgan.contracts.device import choose_device
from ranksrgan.contracts.errors import ImageTooLarge, InvalidCheckpoint, InvalidInput
from ranksrgan.contracts.images import as_float
from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.metrics.image_gradient import image_gradient
from ranksrgan.ranker.vgg12 import MIN_SIDE, VGG12, rename_old_keys

VERSION = "1"
KIND = "ranker"
ARCHITECTURE = "vgg12"

#: Pixels of one image: at width 64 each takes 256 bytes in the first layer alone, and the mean
#: over all positions forbids tiling.
MAX_PIXELS = 2**24

# A generator in training overshoots [0, 1], and the loss has to see it; pixels that count to 255
# are a mistake. Beyond this limit it is the mistake.
_LIMIT = 16.0


class Ranker:
    """A frozen Ranker: a `DifferentiableScorer`.

    It owns a copy of the weights. They require no gradient and BatchNorm uses its running
    statistics, whatever is called on any module around it, so that a Ranker is bit for bit the same
    after it has served as a loss. Several threads may use it at a time.

    Args:
        network: whose weights to copy.
        higher_is_better: the direction of the metric that it has learnt, which its score follows.
        name: for `ScorerInfo.name`.
        parameters_hash: for `ScorerInfo.parameters_hash`.
        device: see `choose_device`. Images may lie elsewhere.
    """

    def __init__(
        self,
        network: VGG12,
        *,
        higher_is_better: bool,
        name: str = "ranker",
        parameters_hash: str = "",
        device: str | torch.device = "auto",
    ) -> None:
        self._device = choose_device(device) if isinstance(device, str) else device
        frozen = _FrozenVGG12(network.width)
        frozen.load_state_dict(network.state_dict())
        frozen.requires_grad_(False).eval()
        self._network = frozen.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._info = ScorerInfo(
            name=name,
            version=VERSION,
            higher_is_better=higher_is_better,
            needs_reference=False,
            differentiable=True,
            min_side=MIN_SIDE,
            parameters_hash=parameters_hash,
        )

    @property
    def info(self) -> ScorerInfo:
        return self._info

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        """Score each image; see `Scorer.score`.

        Args:
            images: ``(N, 3|1, H, W)`` uint8, or floating point in [0, 1]. What overshoots that
                range, as the output of a generator in training does, is scored as it is.
            references: None.

        Returns:
            ``(N,)`` float64 on the device of ``images``, with a gradient to them if they want one.

        Raises:
            InvalidInput: another shape or type, NaN, values far outside [0, 1], references.
            ImageTooSmall: a side is below 32 pixels.
            ImageTooLarge: more than `MAX_PIXELS`.
        """
        _check(images, references)
        # One layout, whatever that of the caller: it decides the kernels and so the last bits.
        prepared = as_float(images.to(self._device)).contiguous(memory_format=torch.channels_last)
        scores: Tensor = self._network(prepared)
        return scores.double().to(images.device)

    def gradient(self, images: Tensor, references: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Score each image and differentiate; see `DifferentiableScorer.gradient`.

        Raises:
            InvalidInput: uint8, and whatever `score` refuses.
        """
        return image_gradient(self.score, images, references)

    def named(self, name: str) -> Ranker:
        """The same Ranker, weights shared, under another name."""
        twin = object.__new__(Ranker)
        twin._device, twin._network = self._device, self._network
        twin._info = replace(self._info, name=name)
        return twin


def load_ranker(
    path: Path,
    *,
    name: str = "ranker",
    device: str = "auto",
    higher_is_better: bool | None = None,
) -> Ranker:
    """Load a Ranker from our ``.safetensors`` or an official ``.pth`` of either generation.

    Args:
        path: the weights.
        name: for `ScorerInfo.name`.
        device: see `choose_device`.
        higher_is_better: for a file that does not say. The default there is False: the official
            Rankers follow NIQE, PI and, since their labels have to fall with quality, 10 - Ma.

    Raises:
        InvalidCheckpoint: damaged, unsafe, or not the weights of a Ranker.
        InvalidInput: ``higher_is_better`` contradicts the file; no such device.
    """
    weights = load_weights(Path(path))
    stated = weights.about.get("higher_is_better")
    if isinstance(stated, bool) and higher_is_better not in (None, stated):
        raise InvalidInput(
            f"{path} says higher_is_better={str(stated).lower()}; leave the option out",
            field="higher_is_better",
        )
    return Ranker(
        load_network(weights),
        higher_is_better=stated if isinstance(stated, bool) else bool(higher_is_better),
        name=name,
        parameters_hash=weights.sha256,
        device=device,
    )


def load_network(weights: Weights) -> VGG12:
    """The network that the weights belong to, ready to be trained further.

    Raises:
        InvalidCheckpoint: they belong to something else.
    """
    where = str(weights.path)
    if weights.kind not in (None, KIND) or weights.architecture not in (None, ARCHITECTURE):
        raise InvalidCheckpoint(
            f"{where} holds a {weights.kind} of architecture {weights.architecture}; a {KIND} of "
            f"architecture {ARCHITECTURE} is wanted here",
            field=where,
        )
    named = replace(weights, tensors=rename_old_keys(weights.tensors))
    first = named.tensors.get("conv0_0.weight")
    if first is None or first.ndim != 4:
        raise InvalidCheckpoint(f"{where} is no {ARCHITECTURE}: it has no conv0_0", field=where)
    width = weights.options.get("width", first.shape[0])
    if width != first.shape[0]:
        raise InvalidCheckpoint(
            f"{where}: its options say width {width} and its first layer has {first.shape[0]}",
            field=where,
        )
    network = VGG12(first.shape[0])
    load_into(network, named)
    return network


def open_ranker(argument: str, options: Mapping[str, str]) -> Ranker:
    """Entry point ``ranker``: ``PATH.safetensors?device=cuda&higher_is_better=false``.

    Raises:
        InvalidInput: an unknown option, or no file's name; and as `load_ranker`.
    """
    if argument == "ranker":
        raise InvalidInput(
            "ranker: name the weights file, as in runs/ranker/ranker.safetensors", field="ranker"
        )
    unknown = sorted(set(options) - {"device", "higher_is_better"})
    if unknown:
        raise InvalidInput(
            f"{argument}: unknown option {unknown[0]}; a ranker takes device and higher_is_better",
            field=unknown[0],
        )
    direction = options.get("higher_is_better")
    if direction not in (None, "true", "false"):
        raise InvalidInput(
            f"{argument}: higher_is_better is true or false, not {direction!r}",
            field="higher_is_better",
        )
    return load_ranker(
        Path(argument),
        device=options.get("device", "auto"),
        higher_is_better=None if direction is None else direction == "true",
    )


class _FrozenVGG12(VGG12):
    def train(self, mode: bool = True) -> _FrozenVGG12:
        """Stay in eval(): batch statistics would make a score depend on its neighbours."""
        super().train(False)
        return self


def _check(images: Tensor, references: Tensor | None) -> None:
    if references is not None:
        raise InvalidInput("a Ranker takes no references", field="references")
    if images.ndim != 4 or images.shape[1] not in (1, 3) or len(images) == 0:
        raise InvalidInput(
            f"images have shape (N, 3|1, H, W) with N at least 1, not {tuple(images.shape)}",
            field="images",
        )
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise InvalidInput(
            f"images are uint8 or floating point in [0, 1], not {images.dtype}", field="images"
        )
    height, width = images.shape[2:]
    if height * width > MAX_PIXELS:
        raise ImageTooLarge(
            f"an image is {width} x {height} pixels; a Ranker scores at most {MAX_PIXELS}",
            field="images",
        )
    if images.is_floating_point() and images.numel():
        low, high = (float(extreme) for extreme in images.detach().aminmax())
        if not -_LIMIT <= low <= high <= _LIMIT:  # false for NaN as well
            raise InvalidInput(
                f"images reach from {low:g} to {high:g}; floating point images lie in [0, 1]",
                field="images",
            )
