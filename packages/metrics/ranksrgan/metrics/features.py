"""Features of many image files, as CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput, LimitExceeded, NotSupported
from ranksrgan.contracts.scorer import FeatureExtractor, Scorer
from ranksrgan.metrics.report import Failure, failure, image_files, read_tensor

#: Image path -> name of the array -> ``(rows, features)``.
Features = dict[str, dict[str, Tensor]]


def extract_files(paths: Sequence[Path], scorer: Scorer) -> tuple[Features, list[Failure]]:
    """Extract the features of files, and of all images of folders.

    What is wrong with an image stops nothing else.

    Returns:
        The features of each image, one row a patch (one row in all where there are no patches), and
        what failed.

    Raises:
        NotSupported: the metric has no features.
        InvalidInput: a folder without images.
    """
    if not isinstance(scorer, FeatureExtractor):
        raise NotSupported(f"{scorer.info.name} has no features to show", field="metric")
    found: Features = {}
    failures: list[Failure] = []
    for path in image_files(paths):
        try:
            arrays = scorer.extract(read_tensor(path))
        except (InvalidInput, LimitExceeded) as error:
            failures.append(failure(path, error))
        else:
            found[str(path)] = {
                name: array[0].reshape(-1, array.shape[-1]).cpu() for name, array in arrays.items()
            }
    return found, failures


def as_csv(found: Features) -> str:
    """``image,array,row,0,1,...``: one line a row of features, to the last digit."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    widths = (array.shape[1] for arrays in found.values() for array in arrays.values())
    writer.writerow(["image", "array", "row", *range(max(widths, default=0))])
    for image, arrays in found.items():
        for name, array in arrays.items():
            for index, row in enumerate(array.tolist()):
                writer.writerow([image, name, index, *row])
    return text.getvalue()


def as_json(found: Features) -> str:
    """``{image: {array: [[...], ...]}}``; a feature that is not a number is null."""
    document = {
        image: {
            name: [[value if value == value else None for value in row] for row in array.tolist()]
            for name, array in arrays.items()
        }
        for image, arrays in found.items()
    }
    return json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n"


FORMATS: dict[str, Callable[[Features], str]] = {"csv": as_csv, "json": as_json}
