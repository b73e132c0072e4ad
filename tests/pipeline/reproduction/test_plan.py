from __future__ import annotations

from pathlib import Path

import pytest

from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.pipeline.reproduction import units
from ranksrgan.pipeline.reproduction.config import Experiment, load_experiment, load_scale
from ranksrgan.pipeline.reproduction.plan import Plan, Planner
from ranksrgan.pipeline.reproduction.units import Units

EXPERIMENTS = Path(__file__).parents[3] / "experiments"


@pytest.fixture
def planner(tiny_data: Path, tiny_scale: Path) -> Planner:
    return Planner(load_scale(EXPERIMENTS, str(tiny_scale)), Units(tiny_data))


def plan(planner: Planner, name: str, *seeds: int) -> Plan:
    return planner.plan(name, load_experiment(EXPERIMENTS, name), seeds)


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_experiment_can_be_planned(path: Path, planner: Planner) -> None:
    units = plan(planner, path.stem, 0, 1).units
    places = {unit.name: place for place, unit in enumerate(units)}
    assert len(places) == len(units)
    for unit in units:
        assert all(places[before.name] < places[unit.name] for before in unit.after)


@pytest.mark.parametrize("scale", ["small", "gpu", "paper"])
@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_experiment_can_be_planned_at_every_scale(
    path: Path, scale: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "content_hash", lambda path: path.name)  # no data is looked at
    experiment = load_experiment(EXPERIMENTS, path.stem)
    planner = Planner(load_scale(EXPERIMENTS, scale), Units(Path("data")))
    found = planner.plan(path.stem, experiment, (0,))
    assert bool(found.bounds) == experiment.bound
    assert len(found.methods) == sum(method.trained for method in experiment.methods.values())
    assert len(found.judgements) == sum(ranker.judged for ranker in experiment.rankers.values())


def test_an_mse_takes_the_place_of_the_loss_of_pixels(tiny_data: Path, tiny_scale: Path) -> None:
    scale = load_scale(EXPERIMENTS, str(tiny_scale), ["mse=20"])
    found = plan(Planner(scale, Units(tiny_data)), "table8", 0)
    losses = [
        found.methods[name, 0].config["losses"]["pixel"]
        for name in ("RankSRGAN", "RankSRGAN + MSE", "RankSRGAN + 5 MSE")
    ]
    assert [loss["weight"] for loss in losses] == [0, 20, 100]
    assert {loss["criterion"] for loss in losses} == {"mse"}


def test_a_file_of_the_content_loss_counts_with_its_content(
    tiny_data: Path, tiny_scale: Path, tmp_path: Path
) -> None:
    file, names = tmp_path / "vgg19.pth", []
    for content in (b"one", b"other"):
        file.write_bytes(content)
        scale = load_scale(EXPERIMENTS, str(tiny_scale), [f"content={file}"])
        found = plan(Planner(scale, Units(tiny_data)), "table8", 0)
        unit = found.methods["SRGAN", 0]
        assert unit.config["losses"]["perceptual"]["network"] == str(file)
        names.append(unit.name)
    assert names[0] != names[1]


def test_ranksrgan_and_its_control_differ_in_the_rank_loss_alone(planner: Planner) -> None:
    found = plan(planner, "table3", 0)
    control, ours = (found.methods[name, 0].config for name in ("SRGAN", "RankSRGAN"))
    differing = {key for key in control if control[key] != ours[key]}
    assert differing == {"losses"}
    changed = {key for key in control["losses"] if control["losses"][key] != ours["losses"][key]}
    assert changed == {"rank"}
    assert control["losses"]["rank"]["weight"] == 0
    assert ours["losses"]["rank"]["rankers"] == [
        {"spec": found.rankers["N", 0].place("ranker.safetensors"), "weight": 1.0}
    ]
    assert ours["generator"]["weights"].startswith("@runs/generator-")
    assert ours["discriminator"]["weights"].startswith("@runs/generator-")


def test_rankers_of_the_papers_architecture_can_be_others_than_those_of_the_claims(
    tiny_data: Path, tiny_scale: Path
) -> None:
    scale = load_scale(
        EXPERIMENTS,
        str(tiny_scale),
        ["ranker={steps: 4, recipe: nss}", "vgg={steps: 5, settings: [width=2]}"],
    )
    planner = Planner(scale, Units(tiny_data))
    paper = plan(planner, "table3", 0).rankers["N", 0].config["training"]
    assert (paper["architecture"], paper["steps"], paper["width"]) == ("vgg12", 5, 2)
    ours = plan(planner, "fig3_4", 0).rankers["N", 0].config["training"]
    assert (ours["architecture"], ours["steps"]) == ("nss", 4)


def test_a_method_has_the_ranker_of_its_seed(planner: Planner) -> None:
    found = plan(planner, "table3", 3, 5)
    for seed in (3, 5):
        assert found.rankers["N", seed].config["training"]["seed"] == seed
        assert found.methods["RankSRGAN", seed].config["run"]["seed"] == seed
        assert found.rankers["N", seed] in found.methods["RankSRGAN", seed].after
        judges = found.evaluations["RankSRGAN", seed].config["judges"]
        assert judges == {f"ranker:{seed}": found.rankers["S", seed].place("ranker.safetensors")}
    assert set(found.references["bicubic"].config["judges"]) == {"ranker:3", "ranker:5"}


def test_experiments_share_what_they_have_in_common(planner: Planner) -> None:
    names = ("table3", "fig3_4", "table2", "table7")
    table3, fig3, table2, table7 = (plan(planner, name, 0) for name in names)
    assert table3.methods["SRGAN", 0] is fig3.methods["SRGAN", 0]
    assert table3.methods["RankSRGAN", 0] is fig3.methods["RankSRGAN-MR", 0]
    assert fig3.evaluations["RankSRGAN-MR", 0] is table7.evaluations["RankSRGAN-N", 0]
    assert table3.rankers["N", 0] is table2.rankers["VGG-12", 0]
    assert table2.rankers["VGG-8", 0].config["training"]["architecture"] == "vgg8"


def test_pictures_that_are_labelled_anew_are_those_of_the_other_set(planner: Planner) -> None:
    found = plan(planner, "fig3_4", 0)
    niqe, methods = found.rank_data["niqe"], found.rank_data["methods"]
    assert methods.config["label"] == "order"
    assert methods.config["levels"] == {
        name: niqe.place(f"dataset/levels/{name}") for name in ("fast_srgan", "srgan", "imdn")
    }
    # Both Rankers are judged by the metric.
    judged = {found.judgements[name, 0].config["data"] for name in ("N", "MC")}
    assert len(judged) == 1


def test_the_srgan_of_interpolations_is_the_one_that_methods_start_from(planner: Planner) -> None:
    found = plan(planner, "rank_sets", 0)
    start = found.methods["SRGAN", 0].config["generator"]["weights"]
    assert found.rank_data["interpolation"].config["levels"]["gan"] == start


def test_given_weights_replace_the_first_training(tiny_data: Path, tiny_scale: Path) -> None:
    units = Units(tiny_data)
    given = units.add("given", "weights", {"sha256": "1", "file": "generator.pth"})
    planner = Planner(load_scale(EXPERIMENTS, str(tiny_scale)), units, given)
    found = plan(planner, "table3", 0)
    assert given in found.units
    assert "SRResNet that SRGAN starts from" not in [unit.label for unit in found.units]


def test_settings_and_models_that_do_not_exist_are_refused(planner: Planner) -> None:
    verdict = {"better": "M", "than": "M", "column": "NIQE"}
    content = {"title": "t", "claim": "c", "verdicts": [verdict]}
    wrong = {**content, "methods": {"M": {"settings": ["losses.pixel.wight=1"]}}}
    with pytest.raises(
        InvalidConfig, match=r"wight=1: unknown key; did you mean losses\.pixel\.weight"
    ):
        planner.plan("x", Experiment.model_validate(wrong), (0,))
    with pytest.raises(InvalidConfig, match=r"teachers: 'esrgan' is none of: fast_srgan, srgan"):
        load_scale(EXPERIMENTS, "small", ["teachers=[srgan, esrgan]"])
