"""A Ranker of natural-scene statistics: a distance from a learnt model of good images.

Metrics without a reference are often made like this: statistics of contrast-normalised luma in
blocks (Mittal et al., BRISQUE 2012, NIQE 2013), whose mean and covariance over the image are
compared with those of a corpus. The score of a convolutional network whose features are averaged
over the image has nothing to do with their covariance, and can hardly follow such a metric where
two versions of one content are nearly equal. This network, ours and not the paper's, is given the
statistics and learns the rest from ranks:

    f_b = W x_b + MLP(x_b)                        for each block b of 96 x 96: 36 numbers x to K
    m, C = mean and covariance of f over the blocks
    score = o + a sqrt((m - m0)' ((C + L L') / 2)^-1 (m - m0))

W, the MLP, m0, L, o and a are learnt; of NIQE's natural images it knows nothing. The features are
those of `ranksrgan.metrics.nss_features`, rounded as published, with a straight-through gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ranksrgan.contracts.errors import ImageTooSmall, InvalidInput
from ranksrgan.contracts.usual_modes import making_networks
from ranksrgan.metrics.nss_features import BLOCK, FEATURES
from ranksrgan.metrics.smooth_nss_features import straight_through_nss_features
from ranksrgan.ranker.heads import check_head

SLOPE = 0.2

# Keeps the learnt covariance away from 0, and the root's gradient finite at the model itself.
_RIDGE = 1e-3
_LEAST_SQUARE = 1e-6


class NSS(nn.Module):
    """Gives each image one unbounded number, or one for each of several metrics.

    Args:
        width: hidden units of the MLP.
        generator: of the initial weights: W orthogonal, the MLP's first layer by He et al. (2015),
            its last one 0.
        heads: how many numbers; the features are learnt in common, each has a model of its own.
        border: pixels left out on every side before blocks are cut, as in ``niqe?border=4``. The
            statistics change with the place of the blocks, so the border is best the metric's.

    Raises:
        InvalidInput: a width or number of heads below 1, or a negative border.
    """

    architecture = "nss"

    def __init__(
        self,
        width: int = 64,
        generator: torch.Generator | None = None,
        *,
        heads: int = 1,
        border: int = 4,
    ) -> None:
        super().__init__()
        for name, value, least in (("width", width, 1), ("heads", heads, 1), ("border", border, 0)):
            if value < least:
                raise InvalidInput(f"{name} is {value}: {least} or more is wanted", field=name)
        self.width, self.heads, self.border = width, heads, border
        self.register_buffer("centre", torch.zeros(FEATURES))
        self.register_buffer("spread", torch.ones(FEATURES))
        self.linear = nn.Linear(FEATURES, FEATURES)
        self.hidden = nn.Linear(FEATURES, width)
        self.bend = nn.Linear(width, FEATURES)
        self.natural = nn.Parameter(torch.zeros(heads, FEATURES))
        self.root = nn.Parameter(torch.eye(FEATURES).repeat(heads, 1, 1))
        self.gain = nn.Parameter(torch.ones(heads))
        self.offset = nn.Parameter(torch.zeros(heads))
        nn.init.orthogonal_(self.linear.weight, generator=generator)
        nn.init.kaiming_normal_(self.hidden.weight, a=SLOPE, generator=generator)
        for weight in (self.linear.bias, self.hidden.bias, self.bend.weight, self.bend.bias):
            nn.init.zeros_(weight)

    @property
    def options(self) -> dict[str, int]:
        """What a weights file says beside the name to build the network again."""
        return {"width": self.width, "heads": self.heads, "border": self.border}

    @property
    def min_side(self) -> int:
        """Below it an image holds no block."""
        return BLOCK + 2 * self.border

    @making_networks()
    def of_head(self, head: int) -> NSS:
        """A network with copies of these weights that has no other head than this one.

        Raises:
            InvalidInput: ``head`` is not one of 0 to heads - 1.
        """
        check_head(head, self.heads)
        state = dict(self.state_dict())
        for key in ("natural", "root", "gain", "offset"):
            state[key] = state[key][head : head + 1]
        alone = NSS(self.width, border=self.border).to(self.offset.dtype)
        alone.load_state_dict(state)
        return alone

    def forward(self, images: Tensor) -> Tensor:
        """Score a batch.

        Args:
            images: ``(N, 3, H, W)`` RGB in [0, 1], both sides at least ``min_side``. What does not
                fill a block at the right and the bottom is not seen.

        Returns:
            ``(N,)`` scores in the type of the parameters, or ``(N, heads)`` if there are several;
            a larger score says that the metric which the Ranker has learnt is larger.

        Raises:
            ImageTooSmall: a side is below ``min_side``.
        """
        return self.judge(self.statistics(images))

    def statistics(self, images: Tensor) -> Tensor:
        """``(N, P, 36)`` float64 of the P blocks of each image; 0 for what a flat block lacks.

        Raises:
            ImageTooSmall: a side is below ``min_side``.
        """
        height, width = images.shape[-2:]
        if min(height, width) < self.min_side:
            raise ImageTooSmall(
                f"an image of {width} x {height} pixels is too small: the Ranker needs "
                f"{self.min_side} x {self.min_side}",
                field="images",
            )
        features = straight_through_nss_features(images, self.border)
        return features.where(features.isfinite(), 0.0)

    def standardise(self, statistics: Tensor) -> None:
        """Have features come in units of their deviation, once and for all.

        Args:
            statistics: ``(N, P, 36)``, what `statistics` gave of the first images.
        """
        rows = statistics.detach().flatten(0, 1)
        self.get_buffer("centre").copy_(rows.mean(0))
        self.get_buffer("spread").copy_(rows.std(0, correction=0).clamp(min=1e-3))

    def judge(self, statistics: Tensor) -> Tensor:
        """The score of each image by its statistics; see `forward`."""
        kind = self.linear.weight.dtype
        # Distances of near-singular covariances are beyond bfloat16.
        with torch.autocast(statistics.device.type, enabled=False):
            centre, spread = self.get_buffer("centre"), self.get_buffer("spread")
            x = ((statistics - centre) / spread).to(kind)
            f = self.linear(x) + self.bend(F.leaky_relu(self.hidden(x), SLOPE))
            mean = f.mean(1, keepdim=True)
            centred = f - mean
            blocks = f.shape[1]
            covariance = centred.transpose(1, 2) @ centred / max(1, blocks - 1)
            ridge = _RIDGE * torch.eye(FEATURES, dtype=kind, device=f.device)
            own = self.root @ self.root.transpose(1, 2) + ridge
            away = (mean - self.natural).unsqueeze(-1)  # (N, heads, 36, 1)
            joint = (covariance[:, None] + own) / 2
            square = (away * torch.linalg.solve(joint, away)).sum((2, 3))
            scores: Tensor = self.offset + self.gain * (square + _LEAST_SQUARE).sqrt()
        return scores if self.heads > 1 else scores.squeeze(1)
