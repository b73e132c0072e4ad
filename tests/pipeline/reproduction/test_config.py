from __future__ import annotations

from pathlib import Path

import pytest

from ranksrgan.contracts.config import recipe_names
from ranksrgan.contracts.errors import InvalidConfig, UnknownName
from ranksrgan.pipeline.reproduction.config import (
    Experiment,
    RankDataSpec,
    load_experiment,
    load_scale,
)

EXPERIMENTS = Path(__file__).parents[3] / "experiments"


def test_there_is_an_experiment_for_every_claim() -> None:
    names = recipe_names(EXPERIMENTS)
    assert names == [
        "fig3_4",
        "rank_sets",
        "table2",
        "table3",
        "table7",
        "table8",
        "tables5_6",
        "training_cost",
        "two_rankers",
    ]
    for name in names:
        experiment = load_experiment(EXPERIMENTS, name)
        rows = {*experiment.methods, *experiment.rankers, "upper bound"}
        for verdict in experiment.verdicts:
            named = {getattr(verdict, key, None) for key in ("better", "than", "method")}
            assert named - {None} <= rows


@pytest.mark.parametrize("name", ["small", "gpu", "paper"])
def test_scales_can_be_read(name: str) -> None:
    scale = load_scale(EXPERIMENTS, name)
    assert scale.held_out in scale.test_sets
    assert scale.content == ("vgg19" if name == "paper" else "vgg19_distilled")


def test_the_number_of_steps_is_one_setting() -> None:
    assert load_scale(EXPERIMENTS, "gpu", ["steps.generator=7"]).steps.generator == 7


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="no experiment 'table9': it is one of fig3_4"):
        load_experiment(EXPERIMENTS, "table9")
    with pytest.raises(UnknownName, match="huge is neither a recipe"):
        load_scale(EXPERIMENTS, "huge")
    with pytest.raises(UnknownName, match=r"/absent is no folder: --experiments names that of"):
        load_scale(tmp_path / "absent", "small")
    with pytest.raises(UnknownName, match=f"{tmp_path} has no scales: --experiments names"):
        load_scale(tmp_path, "small")
    with pytest.raises(
        InvalidConfig, match=r"steps\.generators=7: unknown key; did you mean steps\.generator\?"
    ):
        load_scale(EXPERIMENTS, "gpu", ["steps.generators=7"])


def test_names_within_an_experiment_have_to_exist() -> None:
    content = {
        "title": "t",
        "claim": "c",
        "rank_data": {"niqe": {}},
        "rankers": {"N": {"rank_data": "niqe"}},
        "methods": {"M": {"rankers": ["N"]}},
        "verdicts": [{"better": "M", "than": "M", "column": "NIQE"}],
    }
    Experiment.model_validate(content)
    for key, value, message in (
        ("rankers", {"N": {"rank_data": "ma"}}, r"rankers\.N\.rank_data: 'ma' is none of: niqe"),
        ("methods", {"M": {"rankers": ["O"]}}, r"methods\.M\.rankers: 'O' is none of: N"),
        ("rank_data", {"niqe": {"of": "ma"}}, r"rank_data\.niqe\.of: 'ma' is none of: niqe"),
        ("rank_data", {"niqe": {"of": "niqe"}}, "niqe has no pictures of its own"),
        ("judge", "P", "judge: 'P' is none of: N"),
        ("step_time", True, "no method is the control"),
    ):
        with pytest.raises(ValueError, match=message):
            Experiment.model_validate({**content, key: value})


def test_a_rank_dataset_has_levels_or_takes_those_of_another() -> None:
    with pytest.raises(ValueError, match="levels cannot be given as well"):
        RankDataSpec(of="niqe", levels={"a": "hr"})
