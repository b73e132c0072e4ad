"""EGB: an ensemble of gradient boosting over deep features, by team LION.

D. Hammou, S. A. Fezza, W. Hamidouche, "EGB: image quality assessment based on ensemble of gradient
boosting", CVPRW 2021; eleventh in the NTIRE 2021 challenge on perceptual image quality.

Image and reference, scaled to 224 x 224, go through VGG16. The maps after conv4_2, conv4_3 and
conv5_1 are averaged over their positions, and the absolute differences of those 1536 means are the
features. The score is the mean of three regressors. The paper's are XGBoost, LightGBM and CatBoost;
here they are scikit-learn's with the published settings as far as it has them:

                 thresholds  trees  size       rate  samples  features  other
    like XGBoost    exact       100   depth 5    .09    .7       .8
    like LightGBM   histogram   140   32 leaves  .1              .7     15 to a leaf, L2 .08
    like CatBoost   histogram   250   depth 6    .1                     L2 10

That they are scikit-learn's is our choice, and so is what the table leaves out: XGBoost's least
weight of a leaf (4) and both of its penalties, LightGBM's L1 penalty (.02). It draws the features
anew for each split, where theirs are drawn once for a tree. Another backbone, side or number of
trees than the default is ours too.

The weights that the authors used came with Keras, and their normalisation of the colours; ours are
torchvision's, with its own. Of no use as a loss: trees have no gradient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.checkpoint import Weights, check_fit, load_into
from ranksrgan.contracts.device import choose_device, place
from ranksrgan.contracts.errors import InvalidCheckpoint, InvalidInput, UndefinedScore
from ranksrgan.contracts.images import as_float
from ranksrgan.contracts.joining import Joining
from ranksrgan.contracts.usual_modes import making_networks
from ranksrgan.metrics.full_reference import check_shapes
from ranksrgan.metrics.luma import check_images
from ranksrgan.ranker.quality.backbones.backbone import Backbone
from ranksrgan.ranker.quality.boosted_scorer import BoostedScorer
from ranksrgan.ranker.quality.boosting import (
    Boosted,
    check_samples,
    check_seed,
    grow,
    grow_by_histogram,
    read_members,
)

ARCHITECTURE = "egb"
VERSION = "1"

#: Side of the square that images are scaled to; others are our own option.
SIDE = 224
MAX_SIDE = 2048

#: So many maps of a backbone, the last ones, are looked at.
MAPS = 3

_MEMBERS = 3
_BACKBONE = "backbone."


class Egb(BoostedScorer):
    """The mean of three boosted regressors of deep features: a `Scorer`; the higher the better.

    Args:
        backbone: is owned from here on.
        members: the regressors, of `inputs_of` the backbone.
        side: of the square that images are scaled to.
        name: for `ScorerInfo.name`.
        device: of the backbone, see `choose_device`. Images may lie elsewhere.

    Raises:
        InvalidInput: a regressor of other inputs, or not three; no such device.
    """

    def __init__(
        self,
        backbone: Backbone,
        members: Sequence[Boosted],
        *,
        side: int = SIDE,
        name: str = ARCHITECTURE,
        device: str = "auto",
    ) -> None:
        inputs = inputs_of(backbone)
        found = [member.forest.inputs for member in members]
        if found != [inputs] * _MEMBERS:
            raise InvalidInput(
                f"{_MEMBERS} regressors of {inputs} inputs are wanted, not of {found}",
                field="members",
            )
        _check_side(side, backbone)
        self._side = side
        self._device = choose_device(device)
        backbone.freeze(True)
        self._backbone = place(backbone, self._device)
        super().__init__(
            ARCHITECTURE,
            members,
            {"backbone": backbone.name, "backbone_width": backbone.width, "side": side},
            {_BACKBONE + key: value for key, value in self._backbone.state_dict().items()},
            name=name,
            version=VERSION,
            needs_reference=True,
            min_side=1,
        )

    @property
    def joining(self) -> Joining:
        """Images go through the network one at a time."""
        return Joining("exactly", self._device)

    def _features(self, images: Tensor, references: Tensor | None) -> Tensor:
        """See `deep_features`."""
        return deep_features(self._backbone, images, references, self._side)


def fit_egb(
    backbone: Backbone,
    features: Tensor,
    opinions: Tensor,
    *,
    side: int = SIDE,
    trees: float = 1.0,
    seed: int = 0,
    device: str = "auto",
) -> Egb:
    """Fit the regressors.

    Args:
        backbone: whose features they are; is owned from here on.
        features: ``(N, K)`` of `deep_features`.
        opinions: ``(N,)``, the higher the better.
        side: to which the images were scaled for them.
        trees: how many, in parts of the published numbers.
        seed: of all chance; the same seed and features give the same model.
        device: see `Egb`.

    Raises:
        NotSupported: as `grow_by_histogram`.
        InvalidDataset: as `check_samples`.
        InvalidConfig: as `check_seed`.
    """
    check_samples(features, opinions)
    check_seed(seed)
    inputs, values = features.double().cpu().numpy(), opinions.double().cpu().numpy()

    def part(published: int) -> int:
        return max(1, round(trees * published))

    members = (
        grow(
            inputs,
            values,
            n_estimators=part(100),
            learning_rate=0.09,
            max_depth=5,
            subsample=0.7,
            max_features=0.8,
            random_state=seed,
        ),
        grow_by_histogram(
            inputs,
            values,
            max_iter=part(140),
            learning_rate=0.1,
            max_leaf_nodes=32,
            min_samples_leaf=15,
            l2_regularization=0.08,
            max_features=0.7,
            random_state=seed,
        ),
        grow_by_histogram(
            inputs,
            values,
            max_iter=part(250),
            learning_rate=0.1,
            max_depth=6,
            max_leaf_nodes=None,
            min_samples_leaf=1,
            l2_regularization=10.0,
            random_state=seed,
        ),
    )
    return Egb(backbone, members, side=side, device=device)


def deep_features(
    backbone: Backbone, images: Tensor, references: Tensor | None, side: int = SIDE
) -> Tensor:
    """Absolute differences of the means of the maps of image and reference.

    Args:
        backbone: in ``eval()``, wherever it lies.
        images, references: ``(N, 3|1, H, W)`` both, floating point in [0, 1] or uint8.
        side: of the square that they are scaled to.

    Returns:
        ``(N, K)`` float64 on the CPU, without a graph; K as `inputs_of` says.

    Raises:
        InvalidInput: no references, or of another shape; and as any scorer does.
        UndefinedScore: a feature is not a finite number, as of a backbone with absurd weights.
        RequestCancelled: nobody waits for the result any more.
    """
    if references is None:
        raise InvalidInput(f"{ARCHITECTURE} needs references", field="references")
    check_shapes(images, references)
    check_images(images)
    check_images(references, "references")
    device = backbone.mean.device
    rows: list[Tensor] = []
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        for pair in zip(images, references, strict=True):
            cancellation.check()
            image, reference = (_means(backbone, one.to(device), side) for one in pair)
            found = (image - reference).abs()
            if not bool(found.isfinite().all()):
                # Trees would take a way of theirs with NaN, and say something.
                raise UndefinedScore(
                    f"{backbone.name} makes features of image {len(rows)} that are not finite",
                    field="images",
                )
            rows.append(found)
    return torch.stack(rows).double().cpu()


def inputs_of(backbone: Backbone) -> int:
    """How many features a backbone gives: 1536 of VGG16."""
    return sum(backbone.widths[-MAPS:])


@making_networks()
def open_egb(weights: Weights, options: Mapping[str, str]) -> Egb:
    """The model that `Egb.save` has written.

    Args:
        weights: that have been read.
        options: ``device``, see `Egb`.

    Raises:
        InvalidCheckpoint: it is not sound.
        InvalidInput: another option, or no such device.
    """
    where = str(weights.path)
    unknown = sorted(set(options) - {"device"})
    if unknown:
        raise InvalidInput(f"{where}: an egb has no option {unknown[0]}", field=unknown[0])
    name, width, side = (weights.options.get(key) for key in ("backbone", "backbone_width", "side"))
    if not isinstance(name, str) or type(width) is not int or type(side) is not int:
        raise InvalidCheckpoint(
            f"{where}: an egb's options are backbone, a name, and backbone_width and side, numbers",
            field=where,
        )
    own = {
        key.removeprefix(_BACKBONE): value
        for key, value in weights.tensors.items()
        if key.startswith(_BACKBONE)
    }
    try:
        # A file says how large its network is: what takes no memory shows whether that is true.
        with torch.device("meta"):
            outline = Backbone(name, width)
        check_fit(outline, replace(weights, tensors=own))
        _check_side(side, outline)
        backbone = Backbone(name, width)
        load_into(backbone, replace(weights, tensors=own))
        trees = {
            key: value for key, value in weights.tensors.items() if not key.startswith(_BACKBONE)
        }
        members = read_members(trees, _MEMBERS, inputs_of(backbone))
    except InvalidCheckpoint:
        raise
    except InvalidInput as error:
        raise InvalidCheckpoint(f"{where}: {error}", field=where) from error
    return Egb(backbone, members, side=side, device=options.get("device", "auto"))


def _check_side(side: int, backbone: Backbone) -> None:
    if not backbone.min_side <= side <= MAX_SIDE:
        raise InvalidInput(
            f"images cannot be scaled to a side of {side}: {backbone.min_side} to {MAX_SIDE} are "
            "possible",
            field="side",
        )


def _means(backbone: Backbone, image: Tensor, side: int) -> Tensor:
    # One layout, whatever that of the caller: it decides the kernels and so the last bits.
    whole = as_float(image[None]).contiguous(memory_format=torch.channels_last)
    scaled = F.interpolate(whole, (side, side), mode="bilinear", antialias=True)
    maps: list[Tensor] = backbone(scaled)[-MAPS:]
    return torch.cat([found.mean((2, 3)) for found in maps], 1)[0]
