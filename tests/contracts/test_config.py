from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

import pytest
import yaml
from pydantic import Field, model_validator

from ranksrgan.contracts.config import (
    Config,
    dump_yaml,
    in_order,
    load_config,
    load_recipe,
    make_config,
)
from ranksrgan.contracts.errors import InvalidConfig, InvalidInput, UnknownName
from ranksrgan.contracts.yaml_text import read_yaml


class Train(Config):
    lr: float = 1e-3
    steps: int = Field(100, ge=1)
    milestones: tuple[int, ...] = ()
    name: str = "run"


class Recipe(Config):
    train: Train = Train()
    seed: int = 0
    data: str | None = None


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text("train:\n  lr: 5e-4\n  milestones: [10, 20]\nseed: 7\n", encoding="utf-8")
    return path


def test_file_then_overrides(recipe: Path) -> None:
    assert load_config(Recipe) == Recipe()
    assert load_config(Recipe, recipe) == Recipe(train=Train(lr=5e-4, milestones=(10, 20)), seed=7)
    config = load_config(
        Recipe,
        recipe,
        ["train.lr=1e-4", "seed=8", "train.milestones=[1, 2]", "data=a=b.png", "train.name=1e-4x"],
    )
    train = Train(lr=1e-4, milestones=(1, 2), name="1e-4x")
    assert config == Recipe(train=train, seed=8, data="a=b.png")


def test_an_override_of_one_key_leaves_the_other_defaults_of_a_dict(tmp_path: Path) -> None:
    class Weighted(Config):
        losses: dict[str, float] = Field(default_factory=lambda: {"l1": 1.0, "fine": 0.1})
        names: dict[str, str] = Field(default={"a": "b"})

    assert load_config(Weighted, None, ["losses.tv=2"]).losses == {"l1": 1, "fine": 0.1, "tv": 2}
    assert load_recipe(Weighted, tmp_path, None, ["losses.l1=3", "losses.fine=0"]).losses == {
        "l1": 3,
        "fine": 0,
    }
    assert load_config(Weighted, None, ["losses={tv: 2}"]).losses == {"tv": 2}
    assert load_config(Weighted, None, ["losses={tv: 2}", "losses.l1=1"]).losses == {
        "tv": 2,
        "l1": 1,
    }
    assert load_config(Weighted, None, ["names.c=d"]).names == {"a": "b", "c": "d"}
    assert Weighted().names == {"a": "b"}


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("1.5e3", 1500.0),
        ("-2e-3", -2e-3),
        ("+3e+2", 300.0),
        ("2.e1", 20.0),
        (".5e-3", 5e-4),
        ("0.25", 0.25),
        ("7", 7.0),
    ],
)
def test_numbers_as_people_type_them(tmp_path: Path, text: str, number: float) -> None:
    assert load_config(Recipe, None, [f"train.lr={text}"]).train.lr == number
    path = tmp_path / "r.yaml"
    path.write_text(f"train: {{lr: {text}}}")
    assert load_config(Recipe, path).train.lr == number


def test_the_yaml_of_everybody_else_is_untouched() -> None:
    assert yaml.safe_load("1e-4") == "1e-4"


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("# nothing yet\n")
    assert load_config(Recipe, tmp_path / "empty.yaml") == Recipe()


def test_an_unknown_key_names_file_key_and_neighbour(tmp_path: Path) -> None:
    path = tmp_path / "typo.yaml"
    path.write_text("train:\n  step: 5\n")
    with pytest.raises(InvalidConfig) as refused:
        load_config(Recipe, path)
    assert str(refused.value) == f"{path}: train.step: unknown key; did you mean train.steps?"
    assert refused.value.field == "train.step"
    assert isinstance(refused.value, InvalidInput)


def test_an_unknown_key_far_from_all_gets_no_hint() -> None:
    with pytest.raises(InvalidConfig) as refused:
        load_config(Recipe, None, ["zzz=1"])
    assert str(refused.value) == "zzz=1: unknown key"


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("train: {lr: fast, steps: 0}\nsed: 1\n")
    with pytest.raises(InvalidConfig) as refused:
        load_config(Recipe, path)
    for part in ("train.lr", "train.steps", "sed: unknown key; did you mean seed?"):
        assert part in str(refused.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"train: [unclosed", "is not YAML"),
        (b"\xff\xfe\x00bad", "is not YAML"),
        (b"- a list\n- of things", "should hold keys and values"),
        (b"!!python/object/apply:os.system ['true']", "is not YAML"),
        (b"1: 2", "1"),
    ],
)
def test_files_that_are_no_configuration(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(content)
    with pytest.raises(InvalidConfig, match=message) as refused:
        load_config(Recipe, path)
    assert str(path) in str(refused.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match=r"absent\.yaml: No such file"):
        load_config(Recipe, tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.lr", "overrides look like"),
        ("=1", "overrides look like"),
        ("seed.x=1", "seed"),
        ("train.milestones=[1", "not YAML"),
        ("train=5", "train"),
    ],
)
def test_overrides_that_are_none(recipe: Path, override: str, message: str) -> None:
    with pytest.raises(InvalidConfig, match=message):
        load_config(Recipe, recipe, [override])


def test_dump_and_load_agree(tmp_path: Path) -> None:
    config = Recipe(train=Train(lr=1e-05, milestones=(3,), name="1e-5"), data="x")
    path = tmp_path / "resolved.yaml"
    path.write_text(dump_yaml(config), encoding="utf-8")
    assert load_config(Recipe, path) == config
    assert list(yaml.safe_load(dump_yaml(Recipe()))) == ["train", "seed", "data"]  # defaults too


def test_a_configuration_does_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Recipe().seed = 3  # type: ignore[misc]


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    """A folder of packaged recipes, the second on top of the first."""
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "base.yaml").write_text(
        "train: {lr: 5e-4, steps: 9, milestones: [10, 20]}\n"
        "seed: 7\n"
        "data: hr\n"
        "schedule: {kind: cosine, period: 3}\n"
    )
    (folder / "child.yaml").write_text(
        "extends: base\ntrain: {steps: 8, milestones: [5]}\ndata: null\n"
    )
    return folder


class Constant(Config):
    kind: Literal["constant"] = "constant"


class Cosine(Config):
    kind: Literal["cosine"] = "cosine"
    period: int


class Scheduled(Recipe):
    schedule: Annotated[Constant | Cosine, Field(discriminator="kind")] = Constant()


def test_a_recipe_states_what_differs_from_the_one_that_it_extends(
    recipes: Path, tmp_path: Path
) -> None:
    child = load_recipe(Scheduled, recipes, "child", ["seed=8"])
    train = Train(lr=5e-4, steps=8, milestones=(5,))
    assert child == Scheduled(train=train, seed=8, data=None, schedule=Cosine(period=3))
    assert load_recipe(Scheduled, recipes, "base").data == "hr"
    assert load_recipe(Scheduled, recipes, None) == Scheduled()

    # A user's file on a packaged recipe, and a file on that, beside it.
    (tmp_path / "mine.yaml").write_text("extends: child\nschedule: {period: 4}\n")
    (tmp_path / "other.yaml").write_text("extends: mine.yaml\nschedule: {kind: constant}\n")
    mine = load_recipe(Scheduled, recipes, tmp_path / "mine.yaml")
    assert mine == Scheduled(train=train, seed=7, schedule=Cosine(period=4))
    other = load_recipe(Scheduled, recipes, tmp_path / "other.yaml")
    assert other == Scheduled(train=train, seed=7, schedule=Constant())
    # What is written down is resolved.
    (tmp_path / "written.yaml").write_text(dump_yaml(other))
    assert load_config(Scheduled, tmp_path / "written.yaml") == other


def test_recipes_that_extend_nothing_or_themselves_are_refused(
    recipes: Path, tmp_path: Path
) -> None:
    def extending(name: str, parent: str) -> Path:
        (tmp_path / name).write_text(f"extends: {parent}\n")
        return tmp_path / name

    with pytest.raises(UnknownName, match=r"nothing is neither a recipe \(base, child\)"):
        load_recipe(Recipe, recipes, extending("a.yaml", "nothing"))
    with pytest.raises(InvalidConfig, match=r"gone\.yaml: No such file"):
        load_recipe(Recipe, recipes, extending("b.yaml", "gone.yaml"))
    with pytest.raises(InvalidConfig, match=r"extends: name a recipe or a \.yaml") as refused:
        load_recipe(Recipe, recipes, extending("c.yaml", "[base]"))
    assert refused.value.field == "extends"
    extending("d.yaml", f"../{tmp_path.name}/e.yaml")
    circle = r"itself: e\.yaml extends d\.yaml extends e\.yaml"
    with pytest.raises(InvalidConfig, match=circle):
        load_recipe(Recipe, recipes, extending("e.yaml", "d.yaml"))
    with pytest.raises(InvalidConfig, match=r"schedule: unknown key"):
        load_recipe(Recipe, recipes, "child")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed: 1\n# again\nseed: 2\n", "seed is given twice, in lines 1 and 3"),
        ("seed: 1\n'seed': 2\n", "seed is given twice, in lines 1 and 2"),
        ("train:\n  lr: 1\n  lr: 2\n", "train.lr is given twice, in lines 2 and 3"),
        ("train: {lr: 1, lr: 2}", "train.lr is given twice, in line 1"),
        ("train:\n  milestones:\n  - {a: 1,\n     a: 1}\n", "train.milestones.0.a is given twice"),
    ],
)
def test_a_key_that_is_given_twice_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text(text)
    with pytest.raises(InvalidConfig) as refused:
        load_config(Recipe, path)
    assert str(refused.value).startswith(f"{path}: {said}")
    with pytest.raises(InvalidConfig, match="lr is given twice, in line 1") as refused:
        load_config(Recipe, None, ["train={lr: 1, lr: 2}"])
    assert refused.value.field == "train.lr"


def test_merged_keys_may_be_given_again(tmp_path: Path) -> None:
    path = tmp_path / "merged.yaml"
    path.write_text(
        "train: &base {lr: 1, steps: 2}\nfirst: &first {<<: *base, steps: 3}\n"
        "second: {<<: [*first, *base], lr: 4}\nthird:\n  <<: *base\n  <<: *first\n  lr: 5\n"
    )
    assert read_yaml(path) == {
        "train": {"lr": 1, "steps": 2},
        "first": {"lr": 1, "steps": 3},
        "second": {"lr": 4, "steps": 3},
        "third": {"lr": 5, "steps": 3},
    }
    path.write_text("a: &a\n  b: *a\n")  # what holds itself is walked through once
    with pytest.raises(InvalidConfig, match="a: unknown key"):
        load_config(Recipe, path)


@pytest.mark.parametrize("text", ["2001-02-31", "!!bool maybe", "[" * 5000, "{a"])
def test_what_no_yaml_value_is(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidConfig, match="the value is not YAML"):
        load_config(Recipe, None, [f"data={text}"])
    path = tmp_path / "r.yaml"
    path.write_text(f"data: {text}")
    with pytest.raises(InvalidConfig, match=r"r\.yaml is not YAML"):
        load_config(Recipe, path)


class Loss(Config):
    weight: float = 0.0


class Losses(Config):
    pixel: Loss = Loss()
    rank: Loss | None = None


class Training(Scheduled):
    losses: Losses = Losses()
    parts: dict[str, Train] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _enough(self) -> Self:
        if self.train.steps < self.seed:
            raise ValueError(f"train.steps is {self.train.steps}; seed may not be larger")
        return self


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("steps=1", "steps=1: unknown key; did you mean train.steps?"),
        ("stepz=1", "stepz=1: unknown key; did you mean train.steps?"),
        ("train.seed=1", "train.seed=1: unknown key"),  # there is a seed, but not there
        ("weight=1", "weight=1: unknown key; did you mean losses.pixel.weight or losses.rank.wei"),
        ("losses.rnk.weight=1", "losses.rnk.weight=1: losses.rnk: unknown key; did you mean los"),
        ("parts={a: {stepz: 1}}", "parts={a: {stepz: 1}}: parts.a.stepz: unknown key; did you mea"),
        ("schedule={kind: cosine, perid: 3, period: 1}", "schedule={kind: cosine, perid: 3, peri"),
    ],
)
def test_an_unknown_key_may_be_one_of_a_section(override: str, said: str) -> None:
    with pytest.raises(InvalidConfig) as refused:
        load_config(Training, None, [override])
    assert str(refused.value).startswith(said)


def test_hints_are_whole_keys_of_the_model_that_is_meant() -> None:
    wrong = {"schedule": {"kind": "cosine", "period": 1, "perid": 3}, "parts": {"a": {"stepz": 1}}}
    with pytest.raises(InvalidConfig) as refused:
        make_config(Training, wrong)
    assert str(refused.value) == (
        "configuration: schedule.perid: unknown key; did you mean schedule.period?; "
        "parts.a.stepz: unknown key; did you mean parts.a.steps?"
    )
    assert refused.value.field == "schedule.perid"
    with pytest.raises(InvalidConfig) as refused:
        make_config(Training, {"schedule": {"kind": "constant", "perid": 3}})
    assert str(refused.value) == "configuration: schedule.perid: unknown key"


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["train.lr=fast"], "train.lr=fast: Input should be a valid number, unable to parse str"),
        (["train.lr=fast", "train.lr=slow"], "train.lr=slow: Input should be a valid number"),
        (["train={steps: 0}"], "train={steps: 0}: train.steps: Input should be greater than or"),
        (["train={steps: 0}", "seed=8"], "train={steps: 0}: train.steps: Input should be greater"),
        (["train.milestones=[a]"], "train.milestones=[a]: train.milestones.0: Input should be a"),
        (["seed=99"], "FILE with seed=99: train.steps is 9; seed may not be larger"),
        (["train.steps=5", "data=x"], "FILE with train.steps=5: train.steps is 5; seed may not"),
        (["train={steps: 5}"], "FILE with train={steps: 5}: train.steps is 5; seed may not be la"),
        (["schedule.kind=constant"], "FILE with schedule.kind=constant: schedule.period: unknown"),
        (["schedule={kind: cosine}"], "schedule={kind: cosine}: schedule.period: Field required"),
        (["schedule={period: 3}"], "schedule={period: 3}: kind is missing, which says what the"),
        (["bad=1", "train.lr=x", "seed=y"], "train.lr=x: Input should be a valid number, unable"),
    ],
)
def test_a_wrong_value_is_blamed_on_the_override_that_gave_it(
    recipes: Path, overrides: list[str], said: str
) -> None:
    with pytest.raises(InvalidConfig) as refused:
        load_recipe(Training, recipes, "base", overrides)
    text = str(refused.value)
    assert text.startswith(said.replace("FILE", str(recipes / "base.yaml")))
    assert "Value error" not in text


def test_a_wrong_value_of_the_file_stays_the_files(recipes: Path) -> None:
    path = recipes / "bad.yaml"
    path.write_text("train: {lr: fast}\nseed: x\n")
    with pytest.raises(InvalidConfig) as refused:
        load_recipe(Training, recipes, "bad", ["train.steps=0", "data=y"])
    number = "Input should be a valid {}, unable to parse string as {} {}"
    assert str(refused.value) == (
        f"{path}: train.lr: {number.format('number', 'a', 'number')}; "
        "train.steps=0: Input should be greater than or equal to 1; "
        f"{path}: seed: {number.format('integer', 'an', 'integer')}"
    )


def test_thousands_of_unknown_keys_are_no_search_each() -> None:
    with pytest.raises(InvalidConfig) as refused:
        make_config(Training, {f"sed{number}": 1 for number in range(3000)})
    assert str(refused.value).count("did you mean seed?") == 20
    assert str(refused.value).count("unknown key") == 3000


def test_a_mapping_has_one_order_however_it_was_written() -> None:
    layers = {"conv10": 1, "conv2": 2, "relu1": 3, "conv2_1": 4}
    names = ["conv2", "conv2_1", "conv10", "relu1"]
    assert list(in_order(layers)) == names
    assert list(in_order(dict(reversed(layers.items())), ["relu1", "pool1"])) == [
        "relu1",
        *names[:3],
    ]
    assert in_order(layers) == layers
