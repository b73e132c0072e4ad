"""Scorers and upscalers that live in another process."""

from __future__ import annotations

from ranksrgan.contracts.clients.connection import Connection
from ranksrgan.contracts.clients.scorer import RemoteScorer, connect_scorer, list_scorers
from ranksrgan.contracts.clients.upscaler import RemoteUpscaler, connect_upscaler, list_upscalers

__all__ = [
    "Connection",
    "RemoteScorer",
    "RemoteUpscaler",
    "connect_scorer",
    "connect_upscaler",
    "list_scorers",
    "list_upscalers",
]
