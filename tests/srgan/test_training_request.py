from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest

from ranksrgan.contracts.config import Config, recipe_names
from ranksrgan.contracts.data_root import DataRoot
from ranksrgan.contracts.errors import InvalidInput, UnknownName
from ranksrgan.srgan import load_recipe, training_request
from ranksrgan.srgan.config import RECIPES, TrainConfig
from ranksrgan.srgan.training_request import (
    NAMES,
    PLAIN,
    free_text_keys,
    read_config,
    used_rankers,
)
from tests.srgan.pictures import write_waves


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    write_waves(tmp_path / "images" / "waves", 1)
    (tmp_path / "rankers").mkdir()
    (tmp_path / "rankers" / "niqe.pth").touch()
    return DataRoot(tmp_path)


class Inner(Config):
    choice: Literal["a", "b"] = "a"
    file: Path | None = None
    sizes: tuple[int, ...] = ()


class Other(Config):
    anything: Any = None


class Outer(Config):
    number: float | None = None
    flag: bool = True
    either: Inner | Other = Inner()
    several: tuple[Inner, ...] = ()
    names: tuple[str, ...] = ()
    weights: dict[str, float] | None = None


def test_keys_of_free_text_are_found_wherever_they_are() -> None:
    found = set(free_text_keys(Outer))
    assert found == {"either.file", "either.anything", "several.file", "names", "weights"}


def test_every_key_of_free_text_has_been_decided_on() -> None:
    """A new key that takes a path or a spec is refused until it stands in one of the tables."""
    assert set(free_text_keys(TrainConfig)) <= NAMES.keys() | PLAIN


@pytest.mark.parametrize("recipe", recipe_names(RECIPES))
def test_a_server_takes_every_recipe(recipe: str, root: DataRoot) -> None:
    ranker = 'losses.rank.rankers=[{spec: "rankers/niqe?device=cpu"}]'
    config = load_recipe(recipe, ["data.hr=images/waves", *([ranker] if "rank" in recipe else [])])
    wanted = config.model_dump(mode="json", exclude_unset=True)
    found = read_config(wanted, root, {})
    assert found.data.hr == root.folder / "images" / "waves"
    specs = [ranker.spec for ranker in found.losses.rank.rankers]
    assert set(specs) <= {f"{root.folder}/rankers/niqe.pth?device=cpu"}
    here = config.model_dump(exclude={"data": {"hr"}, "losses": {"rank": {"rankers"}}})
    there = found.model_dump(exclude={"data": {"hr"}, "losses": {"rank": {"rankers"}}})
    assert there == here


def test_shipped_networks_are_named_as_everywhere(root: DataRoot) -> None:
    losses = {
        "rank": {"weight": 1.0, "rankers": [{"spec": "ranker-niqe?device=cpu"}]},
        "scorers": [{"spec": "ranker-niqe"}],
    }
    start = {"data": {"hr": "images/waves"}, "generator": {"weights": "srgan"}}
    found = read_config({**start, "losses": losses}, root, {})
    assert found.generator.weights == Path("srgan")
    assert [one.spec for one in found.losses.rank.rankers] == ["ranker-niqe?device=cpu"]
    assert [one.spec for one in found.losses.scorers] == ["ranker-niqe"]
    named = {"ranker-niqe": "grpc://gpu:50052/niqe"}  # the operator's word goes first
    losses["rank"]["rankers"] = [{"spec": "ranker-niqe"}]
    found = read_config({**start, "losses": losses}, root, named)
    assert [one.spec for one in found.losses.rank.rankers] == ["grpc://gpu:50052/niqe"]


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (
            {"losses": {"rank": {"rankers": [{"spec": "ranker-niqe?head=a+/etc/x.pth"}]}}},
            r"not known here; possible are rankers/NAME, ranker-niqe$",
        ),
        ({"losses": {"scorers": [{"spec": "ranker-niqe?head=a+/etc/x.pth"}]}}, "no metric"),
        ({"generator": {"weights": "sgran"}}, r"models/NAME, nor ranksrgan, srgan, srresnet$"),
        ({"discriminator": {"weights": "srgan"}}, r"generators/NAME or models/NAME$"),
    ],
)
def test_what_only_begins_like_a_shipped_name_is_refused(
    config: dict[str, object], told: str, root: DataRoot
) -> None:
    with pytest.raises((InvalidInput, UnknownName), match=told):
        read_config(config, root, {})


@pytest.mark.parametrize("value", ["/etc/passwd", ["/etc/passwd"], {"path": "/etc/passwd"}])
def test_what_nobody_has_decided_on_is_refused(
    value: object, root: DataRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_request, "NAMES", {"data.hr": NAMES["data.hr"]})
    config = {"data": {"hr": "images/waves"}, "generator": {"weights": value}}
    with pytest.raises(InvalidInput, match="not to be chosen by a client") as caught:
        read_config(config, root, {})
    assert (caught.value.field or "").startswith("generator.weights")


def test_a_job_is_told_of_the_rankers_that_it_names() -> None:
    config = {"losses": {"rank": {"rankers": [{"spec": "a"}, {"spec": "rankers/b"}]}}}
    operators = {"a": "grpc://gpu:50052/niqe", "rankers": "x", "c": "c.safetensors"}
    assert used_rankers(config, operators) == {"a": "grpc://gpu:50052/niqe"}
