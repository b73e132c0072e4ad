"""A trained Ranker as a scorer that nothing can change any more, and that has a gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from ranksrgan.contracts.checkpoint import hash_tensors
from ranksrgan.contracts.device import (
    Precision,
    choose_device,
    computes_in_bfloat16,
    mixed,
    place,
)
from ranksrgan.contracts.errors import ImageTooLarge, ImageTooSmall, InvalidInput, NotSupported
from ranksrgan.contracts.image_tensor import (
    check_gradient_size,
    far_outside,
    require_tensor,
    wants_gradient,
)
from ranksrgan.contracts.images import as_float
from ranksrgan.contracts.joining import Joining
from ranksrgan.contracts.recording import Repeats, recording
from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.metrics.image_gradient import image_gradient
from ranksrgan.ranker.heads import ScoreScale
from ranksrgan.ranker.named_scorer import NamedScorer
from ranksrgan.ranker.networks import Frozen, Network
from ranksrgan.ranker.vgg import MIN_SIDE, VGG

VERSION = "1"

#: Pixels of one image: at width 64 each takes about 330 bytes, and the mean over all positions
#: forbids tiling.
MAX_PIXELS = 2**24
#: Likewise with a gradient, which keeps all layers: 1040 bytes.
MAX_GRADIENT_PIXELS = 2**22

# Pixels of all images that are worked on together, without a gradient and with one: 1.3 GB and
# 1.1 GB at width 64. More would gain nothing.
_TOGETHER = 2**22
_GRADIENTS_TOGETHER = 2**20

# Values of the images of a call that a GPU has done before its kernels are launched one by one.
_RECORDED = 3 * 2**20

_Work = Callable[[Tensor], tuple[Tensor, ...]]


class Ranker(NamedScorer):
    """A frozen Ranker: a `DifferentiableScorer`.

    It owns a copy of the weights. They require no gradient and BatchNorm uses its running
    statistics, whatever is called on any module around it, so that a Ranker is bit for bit the same
    after it has served as a loss. Several threads may use it at a time.

    On a GPU the work on images of a shape that comes again and again is recorded, see `Repeats`:
    the same kernels, launched at once. Each of the last four shapes then keeps the memory that it
    takes, a gigabyte at most at width 64.

    Args:
        network: whose weights to copy.
        higher_is_better: the direction of the metric that it has learnt, which its score follows.
        head: which of the network's outputs is the score; no other is kept.
        scale: of the scores, if it is known.
        name: for `ScorerInfo.name`.
        parameters_hash: for `ScorerInfo.parameters_hash`.
        device: see `choose_device`. Images may lie elsewhere.
        batch_statistics: BatchNorm normalises by the images at hand, as the released code does when
            its Ranker serves as a loss. A score then hangs on its neighbours, and only `score`
            carries gradients.
        precision: of the convolutions: ``float32``, ``bfloat16``, or ``auto``, which is bfloat16
            where the device multiplies it. Scores and gradients of the two agree to about two
            digits: enough for a loss, not for a table. An autocast around a call counts too.

    Raises:
        InvalidInput: the network has no such head; no such device.
    """

    def __init__(
        self,
        network: Network,
        *,
        higher_is_better: bool,
        head: int = 0,
        scale: ScoreScale | None = None,
        name: str = "ranker",
        parameters_hash: str = "",
        device: str | torch.device = "auto",
        batch_statistics: bool = False,
        precision: Precision = "float32",
    ) -> None:
        self._device = choose_device(device) if isinstance(device, str) else device
        frozen = Frozen(network.of_head(head))
        self._batch_statistics = batch_statistics
        if batch_statistics:
            norms = [module for module in frozen.modules() if isinstance(module, nn.BatchNorm2d)]
            if not norms:
                raise InvalidInput(
                    f"{network.architecture} normalises nothing by statistics of a batch; leave "
                    "statistics=batch out",
                    field="statistics",
                )
            for norm in norms:
                # Without running statistics it takes those of the batch, and keeps none.
                norm.running_mean = norm.running_var = None
            parameters_hash = hash_tensors(frozen.network.state_dict())
        self._network = place(frozen, self._device)
        self._there = _There(
            self._network,
            self._device,
            bfloat16=computes_in_bfloat16(precision, self._device),
            batch_statistics=batch_statistics,
        )
        self._scoring = self._repeated(self._there.scores, f"{name}'s score")
        self._differentiating = self._repeated(self._there.gradients, f"{name}'s gradient")
        self._scale = scale
        self._info = ScorerInfo(
            name=name,
            version=VERSION,
            higher_is_better=higher_is_better,
            needs_reference=False,
            differentiable=True,
            min_side=network.min_side,
            parameters_hash=parameters_hash,
        )

    @property
    def joining(self) -> Joining:
        """On a CPU a batch of another size has other last bits; on a GPU it is worth them."""
        alone = self._batch_statistics or self._device.type == "cpu"
        return Joining("never" if alone else "nearly", self._device)

    @property
    def recordable(self) -> bool:
        """See `Recordable`; other networks than VGGs look at what they compute."""
        return self._device.type == "cuda" and isinstance(self._network.network, VGG)

    @property
    def batch_statistics(self) -> bool:
        """Whether BatchNorm normalises by the images at hand, and not by what it has learnt."""
        return self._batch_statistics

    @property
    def scale(self) -> ScoreScale | None:
        """Where the scores lay on the validation images; None if nobody measured it."""
        return self._scale

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
            ImageTooSmall: a side is below ``info.min_side``.
            ImageTooLarge: more than `MAX_PIXELS`, or than `MAX_GRADIENT_PIXELS` where a gradient is
                wanted.
            RequestCancelled: nobody waits for the result any more.
        """
        _check(images, references)
        _check_carried(images)
        if self._batch_statistics or wants_gradient(images):
            return self._there.score(images)
        found = [self._scoring(part)[0] for part in _parts(images, _TOGETHER)]
        return (found[0] if len(found) == 1 else torch.cat(found)).to(images.device)

    def gradient(self, images: Tensor, references: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Score each image and differentiate; see `DifferentiableScorer.gradient`.

        Raises:
            InvalidInput: uint8, whatever `score` refuses, and any image with batch statistics.
            ImageTooLarge: an image of more than `MAX_GRADIENT_PIXELS`.
        """
        if self._batch_statistics:
            raise InvalidInput(
                "with statistics=batch the score of one image changes with all others: there is no "
                "gradient by image, only that of score()",
                field="statistics",
            )
        _check(images, references)  # while the work is recorded nothing can be looked at
        check_gradient_size(images, MAX_GRADIENT_PIXELS, "a Ranker")
        found = [self._differentiating(part) for part in _parts(images, _GRADIENTS_TOGETHER)]
        scores, gradients = (
            (several[0] if len(several) == 1 else torch.cat(several)).to(images.device)
            for several in zip(*found, strict=True)
        )
        return scores, gradients

    def _repeated(self, work: _Work, what: str) -> _Work:
        """On a GPU, where every image is the same work."""
        if self._batch_statistics or not self.recordable:
            return work
        return Repeats(work, self._device, what, largest=_RECORDED)

    def feature_maps(self, images: Tensor) -> dict[str, Tensor]:
        """The feature maps of the five stages, for a perceptual loss; see `FeatureMaps`.

        Args:
            images: as for `score`.

        Returns:
            ``stage0`` to ``stage4``, ``(N, C, H // 2, W // 2)`` to ``(N, 8C, H // 32, W // 32)`` on
            the device of ``images``, after each stage's last activation, with a gradient to the
            images if they want one.

        Raises:
            InvalidInput, ImageTooSmall, ImageTooLarge: as `score`.
            NotSupported: the network has no feature maps.
        """
        _check(images, None)
        _check_carried(images)
        network = self._network.network
        if not isinstance(network, VGG):
            raise NotSupported(
                f"a Ranker of architecture {network.architecture} has no feature maps; a VGG has",
                field="architecture",
            )
        maps = network.features(self._there.prepare(images))
        return {f"stage{stage}": found.to(images.device) for stage, found in enumerate(maps)}


class _There:
    """A network on its device, with images that have been looked at."""

    def __init__(
        self, network: Frozen, device: torch.device, *, bfloat16: bool, batch_statistics: bool
    ) -> None:
        self._network = network
        self._device = device
        self._bfloat16 = bfloat16
        self._batch_statistics = batch_statistics

    def score(self, images: Tensor) -> Tensor:
        # Who asks for less than float32 by an autocast around the call gets that as well.
        with mixed(True, self._device) if self._bfloat16 else nullcontext():
            scores: Tensor = self._network(self.prepare(images))
        return scores.double().to(images.device)

    def scores(self, images: Tensor) -> tuple[Tensor, ...]:
        return (self.score(images),)

    def gradients(self, images: Tensor) -> tuple[Tensor, ...]:
        return image_gradient(lambda shown, _: self.score(shown), images)

    def prepare(self, images: Tensor) -> Tensor:
        """One layout, whatever that of the caller: it decides the kernels and so the last bits."""
        height, width = images.shape[2:]
        deepest = len(images) * (height // MIN_SIDE) * (width // MIN_SIDE)
        if self._batch_statistics and deepest == 1:
            raise ImageTooSmall(
                "statistics=batch would normalise a single value: give more or larger images",
                field="images",
            )
        return as_float(images.to(self._device)).contiguous(memory_format=torch.channels_last)


def _parts(images: Tensor, pixels: int) -> Sequence[Tensor]:
    """The images, as many at a time as have so many pixels together; one at least."""
    if 0 in images.shape:
        return [images]  # it will be refused
    return torch.split(images, max(1, pixels // images.shape[2:].numel()))


def _check_carried(images: Tensor) -> None:
    """Refuse images that are too large for a gradient, if the result is to carry one."""
    if wants_gradient(images):
        check_gradient_size(images, MAX_GRADIENT_PIXELS, "a Ranker")


def _check(images: Tensor, references: Tensor | None) -> None:
    if references is not None:
        raise InvalidInput("a Ranker takes no references", field="references")
    require_tensor(images)
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
    looked_at = images.is_floating_point() and images.numel() and not recording()
    if looked_at and (extremes := far_outside(images)):
        low, high = extremes
        raise InvalidInput(
            f"images reach from {low:g} to {high:g}; floating point images lie in [0, 1]",
            field="images",
        )
