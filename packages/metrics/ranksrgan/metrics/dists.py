"""Deep image structure and texture similarity (DISTS).

K. Ding, K. Ma, S. Wang, E. P. Simoncelli, "Image quality assessment: unifying structure and texture
similarity", IEEE Transactions on Pattern Analysis and Machine Intelligence 44(5), 2022.

Written from the paper and checked against a second computation on random weights. The authors'
weights were not to be had, so nothing is said of their published values.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ranksrgan.contracts.assets import find_asset
from ranksrgan.contracts.checkpoint import load_weights
from ranksrgan.contracts.device import place
from ranksrgan.contracts.errors import InvalidCheckpoint
from ranksrgan.contracts.usual_modes import making_networks
from ranksrgan.metrics.backbones import Vgg16, load_backbone
from ranksrgan.metrics.perceptual import PerceptualNetwork, PerceptualScorer, distances

# Mean and deviation of ImageNet's channels.
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
_WIDTHS = (3, *Vgg16.widths)  # the image itself is looked at, too
_C = 1e-6  # c1 and c2 of the paper


def dists(
    images: Tensor,
    references: Tensor,
    border: int = 0,
    backbone: Path | None = None,
    weights: Path | None = None,
) -> Tensor:
    """DISTS; lower is better, 0 for equal images.

    The images are looked at in the size that they have. The authors' script first shrinks those
    whose shorter side is above 256 pixels to 256; published values may be made either way.

    Args:
        images: ``(N, 3|1, H, W)``, floating point in [0, 1] or uint8; not rounded. What overshoots
            that range, as the output of a generator in training does, is looked at as it is.
        references: of the same shape.
        border: pixels to leave out on every side.
        backbone: torchvision's weights of VGG16; the asset ``vgg16`` if None.
        weights: the authors' ``alpha`` and ``beta``; the asset ``dists`` if None.

    Returns:
        ``(N,)`` float64 on the device of ``images``, 0 to 2, with gradients to both if they want
        one. Each pair is looked at on its own: a batch, the batch in another order and single calls
        give the same bits.

    Raises:
        InvalidInput: wrong shape, type, range or option, or the two differ in size.
        ImageTooSmall: nothing is left inside the border.
        ImageTooLarge: more than 2^24 pixels, or 2^22 where a gradient is wanted.
        MissingAsset: weights that are not here; says where to get them.
        InvalidCheckpoint: other weights than these.
    """
    return distances(open_network(backbone, weights), images, references, border)


class Dists(PerceptualScorer):
    """`dists` as a `DifferentiableScorer`."""

    metric = "dists"
    higher_is_better = False
    min_side = 1
    lowest, highest = 0.0, 2.0
    measure = staticmethod(dists)

    def _network(self) -> PerceptualNetwork:
        return open_network()


class HannPool(nn.Module):
    """Halves each side by the root of a weighted mean of squares, which does not alias.

    O. J. Hénaff, E. P. Simoncelli, "Geodesics of learned representations", ICLR 2016.

    Args:
        channels: of the input.
    """

    window: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        hann = torch.tensor([0.25, 0.5, 0.25])
        window = torch.outer(hann, hann).repeat(channels, 1, 1, 1)
        self.register_buffer("window", window, persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        power = F.conv2d(
            features.square(), self.window, stride=2, padding=1, groups=len(self.window)
        )
        return (power + 1e-12).sqrt()


class DistsNetwork(PerceptualNetwork):
    """The distance itself.

    Args:
        backbone: VGG16 that pools with `HannPool`.
        alpha: weights of the similarity of means, ``(1475,)``, over the channels of image and taps.
        beta: weights of the similarity of structures.
    """

    metric = "DISTS"
    min_side = 1
    alpha: Tensor
    beta: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Vgg16, alpha: Tensor, beta: Tensor) -> None:
        super().__init__()
        self.backbone = backbone
        self.register_buffer("alpha", alpha)
        self.register_buffer("beta", beta)
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor, reference: Tensor) -> Tensor:
        """See `PerceptualNetwork`."""
        features = zip(self._features(image), self._features(reference), strict=True)
        textures, structures = zip(
            *(_dissimilarities(x[0], y[0]) for x, y in features), strict=True
        )
        alpha, beta = self.alpha.double(), self.beta.double()
        total = (alpha * torch.cat(textures)).sum() + (beta * torch.cat(structures)).sum()
        return total / (alpha.sum() + beta.sum())

    def _features(self, image: Tensor) -> list[Tensor]:
        return [image, *self.backbone((image - self.mean) / self.std)]


def open_network(backbone: Path | None = None, weights: Path | None = None) -> PerceptualNetwork:
    """The network of `dists`, which is loaded once in a process for the same files.

    Raises:
        MissingAsset, InvalidCheckpoint: see `dists`.
    """
    return _load(
        Path(backbone) if backbone else find_asset("vgg16"),
        Path(weights) if weights else find_asset("dists"),
    )


@lru_cache(maxsize=4)
def _load(backbone: Path, weights: Path) -> PerceptualNetwork:
    with making_networks():
        network = load_backbone(Vgg16(HannPool), backbone)
        return place(DistsNetwork(network, *_channel_weights(weights)), torch.device("cpu"))


def _channel_weights(path: Path) -> tuple[Tensor, Tensor]:
    """``alpha`` and ``beta``, positive in the paper; what they add up to is divided out in use."""
    weights = load_weights(path)
    found = []
    for key in ("alpha", "beta"):
        values = weights.tensors.get(key)
        if values is None or values.shape != (1, sum(_WIDTHS), 1, 1):
            state = "missing" if values is None else f"of the shape {tuple(values.shape)}"
            raise InvalidCheckpoint(
                f"{path} holds no weights of DISTS: {key} is {state} and should be of the shape "
                f"{(1, sum(_WIDTHS), 1, 1)}",
                field=str(path),
            )
        found.append(values.detach().flatten().float())
    alpha, beta = found
    if not float(alpha.sum() + beta.sum()) > 0:
        raise InvalidCheckpoint(
            f"{path} holds no weights of DISTS: alpha and beta add up to 0 or less",
            field=str(path),
        )
    return alpha, beta


def _dissimilarities(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """1 minus the similarity of the means, and of the structures, of each channel of ``(C, H, W)``.

    The differences are taken before anything is rounded, so that equal images have 0 exactly:
    ``1 - (2ab + c) / (a² + b² + c) = (a - b)² / (a² + b² + c)``, and likewise for the variances.
    """
    mean_x, mean_y = _spatial_mean(x), _spatial_mean(y)
    centred_x, centred_y = x - mean_x[:, None, None].to(x), y - mean_y[:, None, None].to(y)
    variances = _spatial_mean(centred_x.square()) + _spatial_mean(centred_y.square())
    texture = (mean_x - mean_y).square() / (mean_x.square() + mean_y.square() + _C)
    structure = _spatial_mean((centred_x - centred_y).square()) / (variances + _C)
    return texture, structure


def _spatial_mean(features: Tensor) -> Tensor:
    """Rows in the type of the features, then float64."""
    return features.mean(dim=-1).double().mean(dim=-1)
