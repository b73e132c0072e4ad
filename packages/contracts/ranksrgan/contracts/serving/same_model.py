"""Whether a name still stands for the model that a client has opened."""

from __future__ import annotations

from ranksrgan.contracts.errors import ModelReplaced
from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.contracts.upscaler import UpscalerInfo


def require_same(info: ScorerInfo | UpscalerInfo, parameters_hash: str, field: str) -> None:
    """Refuse what is meant for another model.

    Args:
        info: of the model that the name stands for.
        parameters_hash: of the one that is meant; empty for any.
        field: of the request that names it.

    Raises:
        ModelReplaced: they differ.
    """
    if parameters_hash and parameters_hash != info.parameters_hash:
        raise ModelReplaced(
            f"{info.name} has other weights than when it was opened (sha256 "
            f"{info.parameters_hash[:12] or 'none'}, not {parameters_hash[:12]}); open it again",
            field=field,
        )
