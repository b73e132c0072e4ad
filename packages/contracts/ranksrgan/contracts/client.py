"""Scorers and upscalers that live in another process."""

from __future__ import annotations

from ranksrgan.contracts.connection import Connection
from ranksrgan.contracts.remote_scorer import RemoteScorer, connect_scorer, list_scorers
from ranksrgan.contracts.remote_upscaler import RemoteUpscaler, connect_upscaler, list_upscalers

__all__ = [
    "Connection",
    "RemoteScorer",
    "RemoteUpscaler",
    "connect_scorer",
    "connect_upscaler",
    "list_scorers",
    "list_upscalers",
]
