"""What a client of the service may ask for, and the training that it stands for.

Datasets are names in the data root; nothing that a client sends is opened as a path or an address.
"""

from __future__ import annotations

from typing import NamedTuple

from ranksrgan.contracts.config import make_config
from ranksrgan.contracts.data_root import DataRoot
from ranksrgan.contracts.discovery import open_pair_source
from ranksrgan.contracts.errors import InvalidDataset, InvalidInput
from ranksrgan.contracts.pairs import PairSource
from ranksrgan.contracts.ranker_training import TrainingRequest
from ranksrgan.ranker.batches import read_batches
from ranksrgan.ranker.config import TrainConfig
from ranksrgan.ranker.gap import check_gap
from ranksrgan.ranker.held_out import check_held_out
from ranksrgan.ranker.shown import check_shown

RANKERS, DATASETS = "rankers", "datasets"


class Training(NamedTuple):
    """What `train` takes."""

    config: TrainConfig
    learn: PairSource
    validate: PairSource | None


def open_training(request: TrainingRequest, root: DataRoot) -> Training:
    """Open what a request names, and find out now what is wrong with it.

    Raises:
        InvalidConfig: an unknown key or a wrong value; ``field`` is the key. Or what `check_shown`
            and `check_gap` refuse.
        InvalidInput: something that is no name of a dataset.
        UnknownName: there is no such dataset.
        InvalidDataset: it is damaged, has no such split, or nothing to learn or to choose the best
            weights by; ``field`` is that of the request.
    """
    config = make_config(TrainConfig, request.config, "config")
    learn = _open(request, root, "", request.split)
    if learn.info.pairs < 1:
        raise InvalidDataset(
            f"dataset: {request.dataset} has no pair with an order: every pair is a tie",
            field="dataset",
        )
    read_batches(learn, config, start=0)  # says whether they can be read; none is yet
    check_shown(config, learn)
    check_gap(config, learn)
    validate = None
    if request.validation_split:
        validate = _open(request, root, "validation_", request.validation_split)
        try:
            check_held_out(config, learn.info, validate)
        except InvalidDataset as error:
            field = "validation_dataset" if request.validation_dataset else "validation_split"
            raise InvalidDataset(error.message, field=field) from error
    elif request.validation_dataset:
        raise InvalidInput(
            f"validation_split: which one of {request.validation_dataset}?",
            field="validation_split",
        )
    return Training(config, learn, validate)


def _open(request: TrainingRequest, root: DataRoot, prefix: str, split: str) -> PairSource:
    """One of the two sources; ``prefix`` is that of its fields."""
    field, name = "dataset", request.dataset
    if prefix and request.validation_dataset:
        field, name = "validation_dataset", request.validation_dataset
    folder = root.find(name, DATASETS, field)
    ties, min_gap = request.ties, repr(request.min_gap)
    try:
        if split:
            return open_pair_source(str(folder), split=split, ties=ties, min_gap=min_gap)
        return open_pair_source(str(folder), ties=ties, min_gap=min_gap)
    except InvalidDataset as error:
        if error.field == "split":
            field = f"{prefix}split"
        raise InvalidDataset(f"{field}: {error.message}", field=field) from error
