"""MACS's Siamese-difference networks (ninth in NTIRE 2021), in their four forms.

S. M. Ayyoubzadeh, A. Royat, "(ASNA) An attention-based Siamese-difference neural network with
surrogate ranking loss function for perceptual image quality assessment", CVPR Workshops 2021.
Widths and parameter counts are those of the published configuration.

One encoder sees both images. The decoder starts from what it makes of the distorted one alone, and
at each resolution is told how far the two are apart. The published networks take 288 x 288 pixels,
since their last map is flattened; here it is brought to that size by an adaptive mean, so that any
image can be scored, and for 288 x 288 nothing changes.

That is our choice, and so are the last layer's initial weight of 2, that a side need be no multiple
of 32, and that an image is scored once, as it is: published is the mean over 7 mirrored and turned
and 15 lighter and darker views of it, and over several models, after a training on TID and PieAPP's
images before PIPAL's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.ranker.quality.memory import Memory
from ranksrgan.ranker.quality.model import QualityModel
from ranksrgan.ranker.quality.objective import QualityLoss

Form = Literal["plain", "norm", "attention", "tiled"]
FORMS: tuple[Form, ...] = get_args(Form)

#: What each form was trained with: a times the mean square, (1 - a) times the determination, and b
#: times the error of the ranks.
LOSSES: dict[Form, Mapping[QualityLoss, float]] = {
    "plain": {"regression": 0.1, "determination": 0.9, "ranks": 0.1},
    "norm": {"regression": 0.01, "determination": 0.99, "ranks": 0.1},
    "attention": {"regression": 1.0, "ranks": 0.01},
    "tiled": {"regression": 0.2, "determination": 0.8, "ranks": 0.1},
}

#: Of the deepest maps, as published.
WIDTH = 64

# Tiles of a side, of the form that takes them in turn.
_TILES = 4


class Macs(QualityModel):
    """At width 64 and grid 36: 839,039 parameters (plain), 1,504,351 (norm, which is the one with
    BatchNorm), 528,367 (attention) or 373,902 (tiled).

    Args:
        form: ``plain``, ``norm``, ``attention`` or ``tiled``.
        width: channels of the deepest maps.
        grid: side of the map that is flattened, for an image of 288 x 288; the form ``tiled`` has a
            quarter of it, since it looks at 16 tiles one after the other.
    """

    architecture = "macs"
    losses: ClassVar[Mapping[QualityLoss, float]] = LOSSES["attention"]
    memory = Memory(520, 1500)
    min_side = 64

    def __init__(self, form: Form = "attention", width: int = WIDTH, grid: int = 36) -> None:
        super().__init__(form=form, width=width, grid=grid)
        if form not in FORMS:
            raise InvalidInput(f"form is {form}; one of {', '.join(FORMS)} is wanted", field="form")
        if width < 8 or width % 8:
            raise InvalidInput(f"width is {width}; a multiple of 8 is wanted", field="width")
        if grid < _TILES or grid % _TILES:
            raise InvalidInput(f"grid is {grid}; a multiple of {_TILES} is wanted", field="grid")
        self.form: Form = form
        norm = form in ("norm", "attention")
        slope = 0.7 if form == "plain" else 0.5
        widths = [width // 8, width // 4, width // 2, width]

        def stage(inputs: int, channels: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
            layers: list[nn.Module] = [
                nn.Conv2d(inputs, channels, kernel, stride, padding=kernel // 2),
                nn.LeakyReLU(slope),
            ]
            return nn.Sequential(*layers, *([nn.BatchNorm2d(channels)] if norm else []))

        tiled = form == "tiled"
        self.turns = ConvLstm(3, width // 2) if tiled else None
        self.first = nn.Conv2d(width // 2 if tiled else 3, 3, 5, padding=2)
        kernels = (5, 5, 3, 3)
        self.encoder = nn.ModuleList(
            stage(inputs, channels, kernel)
            for inputs, channels, kernel in zip([3, *widths], widths, kernels, strict=False)
        )
        self.bottom = stage(width, width)
        self.decoder = nn.ModuleList(
            stage(inputs, channels)
            for inputs, channels in (
                (2 * width, width),
                (width + widths[2], widths[2]),
                (widths[2] + widths[1], widths[1]),
            )
        )
        last = {"plain": width // 4}.get(form, width // 2)
        middle = width // 2 if form == "attention" else width // 8
        self.norm_at_end = form == "attention"
        self.shrinking = nn.Sequential(
            *_end(widths[1] + widths[0], middle, 4, slope, norm=self.norm_at_end),
            *_end(middle, last, 2, slope, norm=self.norm_at_end),
        )
        self.further = nn.Sequential()
        if form == "attention":
            last, before = width // 8, last
            self.further = nn.Sequential(
                Attention(before, last), *(Residual(last) for _ in range(3))
            )
        side = grid // _TILES if tiled else grid
        self.flat = nn.AdaptiveAvgPool2d(side)
        self.hidden = nn.Linear(last * side * side, 32)
        self.squash = nn.Linear(32, 1)
        self.out = nn.Linear(1, 1)
        # The last layer only sets unit and offset; a negative unit would turn the scale over.
        nn.init.constant_(self.out.weight, 2.0)
        self.memory = self.memory.scaled(width / WIDTH)

    @property
    def current_losses(self) -> Mapping[QualityLoss, float]:
        """Those of the form."""
        return LOSSES[self.form]

    def forward(self, images: Tensor, references: Tensor) -> Tensor:
        """See `QualityModel`."""
        of_references, of_images = self._encoded(references), self._encoded(images)
        deepest = of_images[-1]
        found = self.bottom(deepest if self.form == "tiled" else F.max_pool2d(deepest, 2))
        stages = zip(
            [*self.decoder, self.shrinking],
            reversed(of_references),
            reversed(of_images),
            strict=True,
        )
        for stage, reference, image in stages:
            # The published networks enlarge by 2 here; this is the same where sides are even.
            found = F.interpolate(found, size=image.shape[-2:], mode="nearest")
            found = stage(torch.cat([found, (reference - image).abs()], dim=1))
        found = F.relu(self.hidden(self.flat(self.further(found)).flatten(1)))
        bounded = self.squash(found)
        bounded = bounded.tanh() if self.form == "attention" else bounded.sigmoid()
        score: Tensor = self.out(bounded).squeeze(1)
        return score

    def _encoded(self, images: Tensor) -> list[Tensor]:
        """What the encoder makes of images, the finest map first."""
        scaled = 2 * images - 1
        start = self.first(scaled if self.turns is None else self.turns(_tiles(scaled)))
        maps: list[Tensor] = []
        for stage in self.encoder:
            maps.append(stage(F.max_pool2d(maps[-1], 2) if maps else start))
        return maps


class ConvLstm(nn.Module):
    """A convolutional LSTM (X. Shi et al., NIPS 2015) that looks at tiles one after the other.

    Args:
        inputs: channels of a tile.
        channels: of what it remembers.
    """

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.gates = nn.Conv2d(inputs + channels, 4 * channels, 5, padding=2)

    def forward(self, tiles: Tensor) -> Tensor:
        """``(N, T, C, h, w)`` tiles; ``(N, channels, h, w)`` after the last."""
        size = (len(tiles), self.channels, *tiles.shape[-2:])
        hidden, cell = tiles.new_zeros(size), tiles.new_zeros(size)
        for tile in tiles.unbind(1):
            admit, forget, show, new = self.gates(torch.cat([tile, hidden], dim=1)).chunk(4, dim=1)
            cell = forget.sigmoid() * cell + admit.sigmoid() * new.tanh()
            hidden = show.sigmoid() * cell.tanh()
        return hidden


class Attention(nn.Module):
    """A gate for each channel and one for each place, both beside the input.

    Args:
        inputs, channels: before and after.
    """

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.before = nn.Sequential(
            nn.Conv2d(inputs, channels, 3, padding=1),
            nn.ReLU(),
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, channels, 3, padding=1),
        )
        self.channel_gate = _gate(channels)
        self.place_gate = _gate(channels)
        self.after = nn.Conv2d(inputs + 2 * channels, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """``(N, inputs, H, W)``; ``(N, channels, H, W)`` after it."""
        found = self.before(features)
        by_channel = found * self.channel_gate(found.mean(dim=(2, 3), keepdim=True))
        by_place = found * self.place_gate(found)
        joined: Tensor = self.after(torch.cat([features, by_channel, by_place], dim=1))
        return joined


class Residual(nn.Module):
    """Two 3 x 3 convolutions beside a skip connection; their channels stay as they are."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """``(N, channels, H, W)``; likewise after it."""
        found: Tensor = features + self.second(F.relu(self.first(features)))
        return found


def _end(inputs: int, channels: int, stride: int, slope: float, *, norm: bool) -> list[nn.Module]:
    layers = [nn.Conv2d(inputs, channels, 3, stride, padding=1), nn.LeakyReLU(slope)]
    return [*layers, *([nn.BatchNorm2d(channels)] if norm else [])]


def _gate(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 1), nn.ReLU(), nn.Conv2d(channels, channels, 1), nn.Sigmoid()
    )


def _tiles(images: Tensor) -> Tensor:
    """``(N, 16, C, H / 4, W / 4)``, row by row; what is left over at the far sides is left out."""
    height, width = (side // _TILES for side in images.shape[-2:])
    return torch.stack(
        [
            images[..., row * height : (row + 1) * height, column * width : (column + 1) * width]
            for row in range(_TILES)
            for column in range(_TILES)
        ],
        dim=1,
    )
