"""A model takes no more for each pixel than it says, and so an image that is let in fits."""

from __future__ import annotations

import json
import subprocess
import sys
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ranksrgan.ranker.quality.backbones.backbone import BACKBONES
from ranksrgan.ranker.quality.memory import IN_PARTS, Memory
from ranksrgan.ranker.quality.model import QualityModel
from ranksrgan.ranker.quality.models import MODELS, make_model
from ranksrgan.ranker.quality.scorer import MAX_PIXELS, MEMORY
from ranksrgan.ranker.quality.windows import coverage, covering_windows

Options = dict[str, Any]

ON_BACKBONES = ("iqma", "iqt", "l2pips", "pieapp", "yahaha")

#: Everything there is: each model, on each backbone, and in each form, and some wide ones.
ALL: list[tuple[str, Options]] = [
    *((name, {}) for name in sorted(set(MODELS) - set(ON_BACKBONES))),
    *((name, {"backbone": backbone}) for name in ON_BACKBONES for backbone in BACKBONES),
    *(("macs", {"form": form}) for form in ("plain", "norm", "tiled")),
    ("pieapp", {"stride": 12}),
    ("iqt", {"layers": 4, "backbone": "plain"}),
    ("iqma", {"width": 512, "backbone": "resnet18"}),
    ("sensitivity", {"width": 64}),
    ("macs", {"width": 128}),
    ("l2pips", {"backbone": "plain", "backbone_width": 48}),
]

#: Of these the tensors are counted: those whose figure is the closest, and one of each kind.
COUNTED: list[tuple[str, Options]] = [
    ("radn", {}),
    ("wresnet", {}),
    ("sensitivity", {"width": 64}),
    ("macs", {"form": "tiled"}),
    ("iqma", {"backbone": "vgg16"}),
    ("iqma", {"backbone": "plain"}),
    ("l2pips", {"backbone": "vgg16"}),
    ("yahaha", {"backbone": "vgg16"}),
    ("yahaha", {"backbone": "plain", "backbone_width": 48}),
    ("pieapp", {"backbone": "vgg16"}),
    ("pieapp", {"stride": 12}),
    ("iqt", {"backbone": "vgg16"}),
    ("iqt", {"backbone": "plain", "layers": 4}),
]

GROWTH = """
import json, re, sys
from pathlib import Path
import torch
from ranksrgan.ranker.quality.models import make_model
from ranksrgan.ranker.quality.scorer import QualityScorer

def status(field):
    found = re.search(field + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())
    return 1024 * int(found[1])

torch.set_num_threads(1)
name, options, does, side = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3], int(sys.argv[4])
scorer = QualityScorer(make_model(name, options), device="cpu")
pair = torch.rand(2, 1, 3, side, side)
Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
before = status("VmRSS")
getattr(scorer, does)(*pair)
print((status("VmHWM") - before) / side**2)
"""


class Held(TorchDispatchMode):
    """The bytes of all tensors beside the weights that are alive, and the most there have been."""

    def __init__(self, model: QualityModel) -> None:
        super().__init__()
        self.now = self.most = 0
        self._weights = [parameter.untyped_storage() for parameter in model.parameters()]
        self._known = {id(storage) for storage in self._weights}
        self._alive: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self, function: Any, types: Any, given: Any = (), named: Mapping[str, Any] | None = None
    ) -> Any:
        made = function(*given, **(named or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._add(tensor.untyped_storage())
        return made

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = id(storage), storage.nbytes()
        if key in self._known or key in self._alive:
            return

        def gone(_: object) -> None:
            del self._alive[key]
            self.now -= size

        self._alive[key] = weakref.ref(storage, gone)
        self.now += size
        self.most = max(self.most, self.now)


def without_weights(name: str, options: Options) -> QualityModel:
    with torch.device("meta"):
        return make_model(name, options).requires_grad_(False).eval()


def held(name: str, options: Options, side: int, *, gradient: bool) -> float:
    """What the tensors of a pair take for each of its pixels, found without computing them."""
    model = without_weights(name, options).to(memory_format=torch.channels_last)
    image, reference = (torch.empty(1, 3, side, side, device="meta") for _ in range(2))
    with Held(model) as seen:
        score = model(image.requires_grad_(gradient), reference)
        if gradient:
            torch.autograd.grad(score.sum(), image)
    return seen.most / side**2


@pytest.mark.parametrize(("name", "options"), COUNTED)
def test_the_tensors_of_a_pair_take_no_more_than_the_model_says(
    name: str, options: Options
) -> None:
    memory = without_weights(name, options).memory
    assert memory.gradient / 4 < held(name, options, 288, gradient=True) <= memory.gradient
    if memory.score != IN_PARTS:
        assert held(name, options, 288, gradient=False) <= memory.score


@pytest.mark.parametrize(
    ("name", "options", "scored", "differentiated"),
    [
        ("wresnet", {}, 16.7, 3.1),
        ("radn", {}, 16.7, 1.9),
        ("sensitivity", {}, 13.2, 5.5),
        ("iqma", {}, 16.7, 4.7),
        ("iqma", {"backbone": "vgg16"}, 6.4, 2.8),
        ("l2pips", {"backbone": "vgg16"}, 6.4, 2.8),
        ("yahaha", {}, 16.7, 16.7),
        ("yahaha", {"backbone": "vgg16"}, 6.4, 2.8),
        ("iqt", {}, 16.7, 2.7),
        ("pieapp", {}, 16.7, 16.7),
        ("pieapp", {"stride": 6}, 16.7, 1.0),
    ],
)
def test_megapixels_that_are_let_in(
    name: str, options: Options, scored: float, differentiated: float
) -> None:
    memory = without_weights(name, options).memory
    most = [min(MAX_PIXELS, MEMORY // taken) for taken in memory]
    assert [pixels // 100_000 / 10 for pixels in most] == [scored, differentiated]


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_batch_of_a_training_with_the_papers_crops_is_let_in(name: str) -> None:
    assert 16 * 296**2 * without_weights(name, {}).memory.gradient <= MEMORY


def test_wide_networks_take_in_proportion_and_narrow_ones_get_no_more() -> None:
    published, wide, narrow = (
        without_weights("l2pips", {"backbone_width": width}).memory for width in (0, 128, 4)
    )
    assert wide == Memory(2 * published.score, 2 * published.gradient)
    assert narrow == published
    published, wide = (without_weights("iqma", {"width": width}).memory for width in (256, 384))
    assert wide == Memory(published.score * 3 // 2, published.gradient * 3 // 2)


@pytest.mark.parametrize(("side", "stride"), [(64, 27), (64, 6), (192, 96), (27, 13), (8, 9)])
def test_windows_cover_an_image_no_more_often_than_is_reckoned(side: int, stride: int) -> None:
    for length in range(side, 8 * side):
        windows = len(covering_windows(length, side, side, stride))
        assert (windows * side / length) ** 2 <= coverage(side, stride)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads /proc")
@pytest.mark.parametrize(("name", "options"), ALL)
def test_a_process_grows_no_more_than_the_model_says(name: str, options: Options) -> None:
    memory = without_weights(name, options).memory
    for does, says, side in (("score", memory.score, 1024), ("gradient", memory.gradient, 640)):
        command = [sys.executable, "-c", GROWTH, name, json.dumps(options), does, str(side)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert float(done.stdout) <= says, does
