"""Rank datasets on the wire: pairs, contents and facts, in pairs ``x_to_proto`` and
``x_from_proto``."""

from __future__ import annotations

from datetime import UTC

import torch
from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.pairs import (
    Pair,
    PairSelection,
    RankDatasetInfo,
    RankedContent,
    RankedInfo,
    Ties,
)
from ranksrgan.contracts.v1 import image_pb2, rank_data_pb2
from ranksrgan.contracts.wire import codec

_TIES: dict[Ties, rank_data_pb2.TiePolicy] = {
    "drop": rank_data_pb2.TIE_POLICY_DROP,
    "keep": rank_data_pb2.TIE_POLICY_KEEP,
}


def stored_image_to_proto(image: Tensor) -> image_pb2.Image:
    """An image of a rank dataset, ``(3, H, W)`` in [0, 1], as the 8 bits that it is stored with.

    Raises:
        InvalidInput: it is none: the pixels are not multiples of 1/255.
    """
    pixels = (image * 255).round().to(torch.uint8)
    if not torch.equal(pixels.float() / 255, image):
        raise InvalidInput("an image of a rank dataset has 8 bits; these pixels have more")
    return codec.image_to_proto(pixels)


def stored_image_from_proto(message: image_pb2.Image, field: str) -> Tensor:
    """``(3, H, W)`` float32 in [0, 1], as a reader of the dataset's folder gets it.

    Raises:
        InvalidInput: not a uint8 tensor of that shape.
    """
    pixels = codec.tensor_from_proto(message.tensor, field)
    if pixels.dtype != torch.uint8 or pixels.ndim != 3 or pixels.shape[0] != 3:
        raise InvalidInput(
            f"{field}: {tuple(pixels.shape)} of {pixels.dtype}; (3, H, W) of uint8 is wanted",
            field=field,
        )
    return pixels.float() / 255


def pair_to_proto(pair: Pair) -> rank_data_pb2.Pair:
    """Errors as in `stored_image_to_proto`."""
    return rank_data_pb2.Pair(
        a=stored_image_to_proto(pair.a), b=stored_image_to_proto(pair.b), label=pair.label
    )


def pair_from_proto(message: rank_data_pb2.Pair) -> Pair:
    """Errors as in `stored_image_from_proto`."""
    a, b = stored_image_from_proto(message.a, "a"), stored_image_from_proto(message.b, "b")
    return Pair(a, b, message.label)


def content_to_proto(content: RankedContent, cursor: int) -> rank_data_pb2.StreamContentsResponse:
    """Errors as in `stored_image_to_proto`."""
    return rank_data_pb2.StreamContentsResponse(
        cursor=cursor,
        content=content.content,
        levels=content.levels,
        images=[stored_image_to_proto(image) for image in content.images],
        scores=content.scores.tolist(),
        further_scores={
            name: rank_data_pb2.Scores(values=scores.tolist())
            for name, scores in content.further.items()
        },
        reference=None if content.reference is None else stored_image_to_proto(content.reference),
    )


def content_from_proto(message: rank_data_pb2.StreamContentsResponse) -> RankedContent:
    """Errors as in `stored_image_from_proto`, also if the numbers of levels do not agree."""
    further = {
        name: torch.tensor(list(message.further_scores[name].values), dtype=torch.float64)
        for name in sorted(message.further_scores)
    }
    images = [stored_image_from_proto(image, "images") for image in message.images]
    scores = torch.tensor(list(message.scores), dtype=torch.float64)
    reference = None
    if message.HasField("reference"):
        reference = stored_image_from_proto(message.reference, "reference")
    lengths = {len(message.levels), len(images), len(scores), *map(len, further.values())}
    shapes = {image.shape for image in [*images, *([] if reference is None else [reference])]}
    if len(lengths) > 1 or not images or len(shapes) > 1:
        raise InvalidInput(f"{message.content}: images and scores do not match", field="images")
    return RankedContent(
        message.content, tuple(message.levels), torch.stack(images), scores, further, reference
    )


def ties_to_proto(ties: Ties) -> rank_data_pb2.TiePolicy:
    return _TIES[ties]


def ties_from_proto(number: int) -> Ties:
    """Raises InvalidInput: a tie policy that is not known."""
    policy = number or rank_data_pb2.TIE_POLICY_DROP
    for ties, known in _TIES.items():
        if policy == known:
            return ties
    raise InvalidInput(f"ties: policy {policy} is not known", field="ties")


def selection_from_proto(
    request: rank_data_pb2.DescribePairsRequest
    | rank_data_pb2.StreamPairsRequest
    | rank_data_pb2.StreamContentsRequest,
) -> PairSelection:
    """Raises InvalidInput: a tie policy that is not known, a negative gap."""
    return PairSelection(request.split or None, ties_from_proto(request.ties), request.min_gap)


def ranked_info_to_proto(info: RankedInfo) -> rank_data_pb2.DescribePairsResponse:
    return rank_data_pb2.DescribePairsResponse(
        metric=info.metric,
        higher_is_better=info.higher_is_better,
        levels=info.levels,
        contents=info.contents,
        pairs=info.pairs,
        fingerprint=info.fingerprint,
        further_metrics=info.further,
        one_size=info.one_size,
        infinite_metrics=info.infinite,
    )


def ranked_info_from_proto(message: rank_data_pb2.DescribePairsResponse) -> RankedInfo:
    return RankedInfo(
        metric=message.metric,
        higher_is_better=message.higher_is_better,
        levels=tuple(message.levels),
        contents=message.contents,
        pairs=message.pairs,
        fingerprint=message.fingerprint,
        further={name: message.further_metrics[name] for name in sorted(message.further_metrics)},
        one_size=message.one_size if message.HasField("one_size") else None,
        infinite=dict(sorted(message.infinite_metrics.items())),
    )


def dataset_info_to_proto(info: RankDatasetInfo) -> rank_data_pb2.RankDataset:
    return rank_data_pb2.RankDataset(
        name=info.name,
        metric=info.metric,
        higher_is_better=info.higher_is_better,
        levels=info.levels,
        sources=info.sources,
        contents=info.contents,
        dropped=info.dropped,
        crop=info.crop,
        further_metrics=info.further,
        create_time=info.created,
    )


def dataset_info_from_proto(message: rank_data_pb2.RankDataset) -> RankDatasetInfo:
    return RankDatasetInfo(
        name=message.name,
        metric=message.metric,
        higher_is_better=message.higher_is_better,
        levels=tuple(message.levels),
        sources=dict(message.sources),
        contents=dict(message.contents),
        dropped=dict(message.dropped),
        crop=message.crop,
        further=dict(message.further_metrics),
        created=message.create_time.ToDatetime(UTC),
    )
