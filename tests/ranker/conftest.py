"""A real source of ranked images that needs no rank dataset, and a Ranker in its file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
import skimage
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from ranksrgan.contracts.checkpoint import save_weights
from ranksrgan.contracts.images import as_float, read_image, to_tensor
from ranksrgan.contracts.pairs import Pair, PairSource, RankedContent, RankedInfo
from ranksrgan.ranker import VGG, VGG12, TrainConfig

SIGMAS = (0.3, 1.0, 2.0)
PHOTOGRAPHS = Path(skimage.__file__).parent / "data"


class MemorySource:
    """`PairSource` over contents in memory.

    Args:
        contents: what there is; every content's scores all different.
        shuffled: which member comes first is drawn; if not, the smaller score always does, as in
            the published data set.
        further: directions of the further metrics that the contents bring.
    """

    def __init__(
        self,
        contents: list[RankedContent],
        *,
        shuffled: bool = True,
        further: Mapping[str, bool] | None = None,
    ) -> None:
        self._contents = contents
        self._shuffled = shuffled
        self._pairs = [
            (c, i, j)
            for c, content in enumerate(contents)
            for i in range(len(content.levels))
            for j in range(i + 1, len(content.levels))
        ]
        digest = hashlib.sha256()
        for content in contents:
            digest.update(content.images.numpy().tobytes() + content.scores.numpy().tobytes())
        self._info = RankedInfo(
            metric="blur",
            higher_is_better=False,
            levels=tuple(dict.fromkeys(level for content in contents for level in content.levels)),
            contents=len(contents),
            pairs=len(self._pairs),
            fingerprint=digest.hexdigest(),
            further=further or {},
        )

    @property
    def info(self) -> RankedInfo:
        return self._info

    def pairs(self, seed: int, start: int = 0, step: int = 1) -> Iterator[Pair]:
        return islice(self._pairs_from(seed, start), 0, None, step)

    def shuffled_contents(
        self, seed: int, start: int = 0, step: int = 1
    ) -> Iterator[RankedContent]:
        for position in count(start, step):
            epoch, place = divmod(position, len(self._contents))
            generator = torch.Generator().manual_seed(2000 * seed + epoch)
            order = torch.randperm(len(self._contents), generator=generator)
            yield self._contents[int(order[place])]

    def _pairs_from(self, seed: int, start: int) -> Iterator[Pair]:
        epoch, skip = divmod(start, len(self._pairs))
        while True:
            generator = torch.Generator().manual_seed(1000 * seed + epoch)
            order = torch.randperm(len(self._pairs), generator=generator).tolist()
            swaps = torch.rand(len(self._pairs), generator=generator) < 0.5
            for k in range(skip, len(order)):
                c, i, j = self._pairs[order[k]]
                if self._shuffled and swaps[k]:
                    i, j = j, i
                content = self._contents[c]
                label = float(torch.sign(content.scores[i] - content.scores[j]))
                yield Pair(content.images[i], content.images[j], label)
            epoch, skip = epoch + 1, 0

    def contents(self) -> Iterator[RankedContent]:
        return iter(self._contents)


def blurred(name: str, *, crops: int, side: int = 32) -> list[RankedContent]:
    """Crops of one photograph, blurred; the score of each is the σ in pixels."""
    photograph = as_float(to_tensor(read_image(PHOTOGRAPHS / name)))[0].numpy()
    rng = np.random.default_rng(0)
    contents = []
    while len(contents) < crops:
        top, left = (int(rng.integers(0, size - side)) for size in photograph.shape[1:])
        crop = photograph[:, top : top + side, left : left + side]
        if crop.std() < 0.05:
            continue
        images = np.stack([gaussian_filter(crop, (0, sigma, sigma)) for sigma in SIGMAS])
        levels = tuple(f"sigma{sigma:g}" for sigma in SIGMAS)
        scores = torch.tensor(SIGMAS, dtype=torch.float64)
        contents.append(
            RankedContent(f"{name}:{top},{left}", levels, torch.from_numpy(images), scores)
        )
    return contents


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Networks this small are faster without waiting for other threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def training_contents() -> list[RankedContent]:
    names = ("astronaut.png", "coffee.png", "rocket.jpg", "brick.png", "grass.png")
    return [content for name in names for content in blurred(name, crops=20)]


@pytest.fixture(scope="session")
def held_out() -> MemorySource:
    return MemorySource(blurred("chelsea.png", crops=15) + blurred("gravel.png", crops=15))


@pytest.fixture(scope="session")
def blur_set(training_contents: list[RankedContent]) -> MemorySource:
    return MemorySource(training_contents)


@pytest.fixture
def source_of() -> Callable[..., PairSource]:
    """Make a source from contents: ``source_of(contents, shuffled=False)``."""
    return MemorySource


@pytest.fixture
def content_of() -> Callable[[list[float]], RankedContent]:
    """A content of noise images with the given scores."""

    def make(scores: list[float]) -> RankedContent:
        images = torch.rand(len(scores), 3, 32, 32)
        levels = tuple(f"level{i}" for i in range(len(scores)))
        return RankedContent("noise", levels, images, torch.tensor(scores, dtype=torch.float64))

    return make


@pytest.fixture
def small() -> TrainConfig:
    """A training that takes a fraction of a second, on the CPU and in float32."""
    return TrainConfig(
        width=4,
        batch=4,
        steps=6,
        lr=2e-3,
        validate_every=3,
        save_every=2,
        log_every=2,
        precision="float32",
        device="cpu",
    )


@pytest.fixture
def images() -> Tensor:
    """``(3, 3, 40, 56)`` of a photograph."""
    photograph = as_float(to_tensor(read_image(PHOTOGRAPHS / "chelsea.png")))[0]
    return torch.stack([photograph[:, t : t + 40, 2 * t : 2 * t + 56] for t in (30, 90, 150)])


@pytest.fixture
def network() -> VGG:
    """Width 4, with running statistics and weights of its own."""
    made = VGG12(4, torch.Generator().manual_seed(0))
    for _ in range(5):
        made(torch.rand(4, 3, 48, 48))
    return made.eval()


@pytest.fixture
def weights_file(network: VGG, tmp_path: Path) -> Path:
    path = tmp_path / "ranker.safetensors"
    save_weights(
        path,
        network.state_dict(),
        kind="ranker",
        architecture="vgg12",
        options={"width": 4},
        about={"metric": "ssim", "higher_is_better": True},
    )
    return path
