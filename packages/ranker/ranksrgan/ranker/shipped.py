"""The Ranker that comes with this package: ``open_scorer("ranker-niqe")``.

How well it ranks, and what it has learnt from, is in its model card.
"""

from __future__ import annotations

from ranksrgan.contracts.shipped import ShippedWeights

SHIPPED = ShippedWeights("ranksrgan.ranker", {"ranker-niqe": "niqe_nss"})
