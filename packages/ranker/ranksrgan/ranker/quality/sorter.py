"""A network that has learnt to sort: differentiable ranks that need no temperature.

M. Engilberge, L. Chevallier, P. Pérez, M. Cord, "SoDeep: a sorting deep net to learn ranking loss
surrogates", CVPR 2019. Theirs and MACS's are convolutional or recurrent; a perceptron of two hidden
layers, our choice, learns as well at the sizes of a batch. It is sensitive to the scale of what it
is given, so that is standardised first; scores that are closer together than the losses of
`ranksrgan.ranker.loss_correlation` tell apart get nearly equal ranks here too. Its `soft_ranks` is
more accurate, and free.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.ranker.loss_correlation import LEAST_DEVIATION

_BATCH = 256


class Sorter(nn.Module):
    """From N scores to their ranks 1 to N.

    Args:
        count: N.
        hidden: width of the two hidden layers.
    """

    def __init__(self, count: int, hidden: int = 256) -> None:
        super().__init__()
        self.count = count
        self.layers = nn.Sequential(
            nn.Linear(count, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, count),
        )

    def forward(self, scores: Tensor) -> Tensor:
        """``(..., N)`` scores; their ranks in the same shape, with a gradient.

        Raises:
            InvalidInput: another number of scores.
        """
        if scores.shape[-1] != self.count:
            raise InvalidInput(
                f"{scores.shape[-1]} scores for a sorter of {self.count}", field="scores"
            )
        centred = scores - scores.mean(-1, keepdim=True)
        deviation = (centred.square().mean(-1, keepdim=True) + LEAST_DEVIATION**2).sqrt()
        found: Tensor = self.layers(centred / deviation) + (self.count + 1) / 2
        return found


def train_sorter(count: int, steps: int = 600, seed: int = 0) -> Sorter:
    """A sorter of normal and uniform samples, half each, as MACS trains its; frozen.

    Args:
        count: how many scores it sorts.
        steps: of 256 samples each; 600 take a few seconds.
        seed: of weights and samples.
    """
    with torch.random.fork_rng([]), torch.enable_grad():
        torch.manual_seed(seed)
        sorter = Sorter(count)
        optimiser = torch.optim.Adam(sorter.parameters(), lr=2e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        for _ in range(steps):
            normal = torch.randn(_BATCH // 2, count)
            uniform = 2 * torch.rand(_BATCH // 2, count) - 1
            samples = torch.cat([normal, uniform])
            ranks = samples.argsort(1).argsort(1) + 1
            loss = (sorter(samples) - ranks).abs().mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
    return sorter.requires_grad_(False)
