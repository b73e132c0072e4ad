"""From an experiment, a scale and seeds to the units of work that it takes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from ranksrgan.contracts.specs import WEIGHTS_SUFFIXES
from ranksrgan.pipeline.reproduction.config import (
    BICUBIC,
    GROUND_TRUTH,
    PRETRAINED,
    Experiment,
    MethodSpec,
    RankDataSpec,
    Scale,
)
from ranksrgan.pipeline.reproduction.units import Unit, Units
from ranksrgan.rankdata import BuildConfig
from ranksrgan.ranker import load_recipe as load_ranker_recipe
from ranksrgan.srgan import load_recipe as load_generator_recipe

SR_SCALE = 4
GENERATOR = "generator.safetensors"
DISCRIMINATOR = "discriminator.safetensors"
RANKER = "ranker.safetensors"
DATASET = "dataset"
IMAGES = "images"

#: Scores of a Ranker are named after its seed.
JUDGE = "ranker:"


@dataclass
class Plan:
    """The units of one experiment.

    Attributes:
        name: of the experiment.
        experiment: see there.
        seeds: of the trainings.
        rank_data: to learn from, by name.
        rankers: by name and seed.
        judgements: of the Rankers, on held-out images, where they are judged.
        methods: those that are trained, by name and seed.
        evaluations: of the methods.
        references: evaluations of what is not trained, the ground truth among them, by name.
        bounds: rank data of whole test images, by test set.
        step_time: of a training step.
    """

    name: str
    experiment: Experiment
    seeds: tuple[int, ...]
    rank_data: dict[str, Unit] = field(default_factory=dict)
    rankers: dict[tuple[str, int], Unit] = field(default_factory=dict)
    judgements: dict[tuple[str, int], Unit] = field(default_factory=dict)
    methods: dict[tuple[str, int], Unit] = field(default_factory=dict)
    evaluations: dict[tuple[str, int], Unit] = field(default_factory=dict)
    references: dict[str, Unit] = field(default_factory=dict)
    bounds: dict[str, Unit] = field(default_factory=dict)
    step_time: Unit | None = None

    @property
    def units(self) -> list[Unit]:
        """All that it needs, each after what it is made from."""
        ends = [
            *self.evaluations.values(),
            *self.judgements.values(),
            *self.references.values(),
            *self.bounds.values(),
            *([self.step_time] if self.step_time else []),
        ]
        found: dict[str, Unit] = {}
        for end in ends:
            for unit in _with_all_before(end):
                found.setdefault(unit.name, unit)
        return list(found.values())


class Planner:
    """Plans experiments of one scale, which share what they have in common.

    Args:
        scale: see `Scale`.
        units: receives the units.
        initial: an SRResNet that is given instead of trained; None trains it.
    """

    def __init__(self, scale: Scale, units: Units, initial: Unit | None = None) -> None:
        self._scale = scale
        self._units = units
        self._files = [Path(scale.content)] if is_network_file(scale.content) else []
        images = units.add("images", "training images", {"folders": list(scale.training)})
        self._training = images.place(IMAGES)
        start = self._initial() if initial is None else initial.place(initial.config["file"])
        steps = scale.steps.pretrained
        self._pretrained = self._generator(
            "SRGAN that the methods start from",
            "srgan_control",
            steps,
            scale.pretraining_seed,
            [*self._gan_settings, _set("generator.weights", start)],
        )

    def plan(self, name: str, experiment: Experiment, seeds: tuple[int, ...]) -> Plan:
        """The units of an experiment.

        Raises:
            InvalidConfig: a setting that a recipe does not have, or an impossible combination.
            InvalidInput: data that is missing.
        """
        plan = Plan(name, experiment, seeds)
        for data_name in experiment.rank_data:
            plan.rank_data[data_name] = self._rank_data(experiment, data_name)
        for seed in seeds:
            for ranker_name in experiment.rankers:
                self._plan_ranker(plan, ranker_name, seed)
            for method_name, method in experiment.methods.items():
                if method.trained:
                    self._plan_method(plan, method_name, seed)
        if BICUBIC in experiment.references:
            plan.references[BICUBIC] = self._evaluation(plan, BICUBIC, "bicubic?scale=4", seeds)
        for model in self._scale.models_of(experiment.references):
            label = self._scale.title_of(model)
            plan.references[label] = self._evaluation(plan, label, self._scale.models[model], seeds)
        plan.references[GROUND_TRUTH] = self._evaluation(plan, GROUND_TRUTH, None, seeds)
        if experiment.bound:
            levels = {model: self._scale.models[model] for model in self._scale.teachers}
            for test_set, folder in self._scale.test_sets.items():
                plan.bounds[test_set] = self._build(
                    f"bound on {test_set}",
                    hr=folder,
                    levels=levels,
                    crop="whole",
                    test=1.0,
                    val=0.0,
                )
        if experiment.step_time:
            plan.step_time = self._step_time(plan)
        return plan

    def _plan_ranker(self, plan: Plan, name: str, seed: int) -> None:
        spec, scale = plan.experiment.rankers[name], self._scale
        kind = scale.vgg if spec.vgg and scale.vgg is not None else scale.ranker
        every = max(1, kind.steps // scale.validations)
        of_scale = [
            *kind.settings,
            f"steps={kind.steps}",
            f"validate_every={every}",
            f"save_every={every}",
        ]
        settings = [*(() if spec.recipe else of_scale), *spec.settings, f"seed={seed}"]
        recipe = spec.recipe or kind.recipe
        training = load_ranker_recipe(recipe, settings).model_dump(mode="json")
        if not training["versions"]:
            del training["versions"]  # Rankers of before there was this key keep their names
        data = plan.rank_data[spec.rank_data].place(DATASET)
        label = f"Ranker {name}, seed {seed}"
        ranker = self._units.add("ranker", label, {"training": training, "data": data})
        plan.rankers[name, seed] = ranker
        if not spec.judged:
            return
        judged_on = self._held_out(plan.experiment, spec.judged_on or spec.rank_data)
        plan.judgements[name, seed] = self._units.add(
            "judgement",
            f"{label} on held-out images",
            {"ranker": ranker.place(RANKER), "data": judged_on.place(DATASET)},
        )

    def _plan_method(self, plan: Plan, name: str, seed: int) -> None:
        spec = plan.experiment.methods[name]
        label = f"{name}, seed {seed}"
        recipe, settings = self._method(plan, spec, seed)
        unit = self._generator(label, recipe, self._scale.steps.generator, seed, settings)
        plan.methods[name, seed] = unit
        plan.evaluations[name, seed] = self._evaluation(plan, label, unit.place(GENERATOR), (seed,))

    def _method(self, plan: Plan, spec: MethodSpec, seed: int) -> tuple[str, list[str]]:
        """The recipe of a method and what it is told beside it."""
        scale = self._scale
        settings = [
            *self._gan_settings,
            *scale.method,
            *(scale.ranked if spec.rankers else ()),
            *([] if spec.mse is None else _mse(spec.mse * scale.mse)),
            *spec.settings,
            _set("generator.weights", self._pretrained.place(GENERATOR)),
            _set("discriminator.weights", self._pretrained.place(DISCRIMINATOR)),
        ]
        if not spec.rankers:
            return "srgan_control", settings
        rankers = [{"spec": plan.rankers[name, seed].place(RANKER)} for name in spec.rankers]
        return "ranksrgan", [*settings, f"losses.rank.rankers={json.dumps(rankers)}"]

    def _initial(self) -> str:
        unit = self._generator(
            "SRResNet that SRGAN starts from",
            "srresnet",
            self._scale.steps.initial,
            self._scale.pretraining_seed,
            self._scale.initial,
        )
        return unit.place(GENERATOR)

    @property
    def _gan_settings(self) -> list[str]:
        content = self._scale.content
        network = (
            "losses.perceptual={weight: 0, network: null}"
            if content is None
            else _set("losses.perceptual.network", content)
        )
        return [network, *self._scale.gan]

    def _generator(
        self,
        label: str,
        recipe: str,
        steps: int,
        seed: int,
        settings: list[str] | tuple[str, ...],
    ) -> Unit:
        scale = self._scale
        every = max(1, steps // scale.validations)
        common = [
            _set("data.hr", self._training),
            _set("validation.hr", scale.test_sets[scale.validation]),
            f"validation.every={every}",
            "validation.if_available=[lpips]",
            f"run.steps={steps}",
            f"run.seed={seed}",
            f"run.save_every={every}",
            "run.tensorboard=false",
        ]
        config = load_generator_recipe(recipe, [*common, *settings])
        return self._units.add("generator", label, config.model_dump(mode="json"), self._files)

    def _step_time(self, plan: Plan) -> Unit:
        seed, timing = plan.seeds[0], self._scale.step_timing
        trainings: dict[str, Any] = {}
        for name, spec in plan.experiment.methods.items():
            recipe, settings = self._method(plan, spec, seed)
            alone = [
                _set("data.hr", self._training),
                "validation.if_available=[lpips, pi]",  # of a validation that there is not
                f"run.seed={seed}",
                "run.tensorboard=false",
                "run.log_every=1",
                "run.save_every=1000000000",
            ]
            config = load_generator_recipe(recipe, [*alone, *settings])
            trainings[name] = config.model_dump(mode="json", exclude={"run": {"steps"}})
        return self._units.add(
            "step_time",
            "step times",
            {
                "trainings": trainings,
                "control": next(n for n, m in plan.experiment.methods.items() if m.control),
                **timing.model_dump(),
            },
        )

    def _rank_data(self, experiment: Experiment, name: str) -> Unit:
        scale = self._scale.rank_data
        return self._build(
            f"rank data {name}",
            hr=self._training,
            levels=self._levels(experiment, name, held_out=False),
            spec=experiment.rank_data[name],
            crop=scale.crop,
            stride=scale.stride,
            sources=scale.sources,
            val=scale.val,
        )

    def _held_out(self, experiment: Experiment, name: str) -> Unit:
        scale = self._scale.rank_data
        return self._build(
            f"held-out rank data {name}",
            hr=self._scale.test_sets[self._scale.held_out],
            levels=self._levels(experiment, name, held_out=True),
            spec=experiment.rank_data[name],
            crop=scale.crop,
            stride=scale.held_out_stride,
            val=0.0,
            test=1.0,
        )

    def _levels(self, experiment: Experiment, name: str, *, held_out: bool) -> Mapping[str, str]:
        spec = experiment.rank_data[name]
        if spec.of is not None:
            make = self._held_out if held_out else self._rank_data
            pictures = make(experiment, spec.of)
            levels = self._levels(experiment, spec.of, held_out=held_out)
            places = {level: pictures.place(f"{DATASET}/levels/{level}") for level in levels}
            return {**places, "hr": "hr"} if "hr" in levels else places  # the originals themselves
        wanted = spec.levels or self._scale.levels or {model: model for model in self._scale.models}
        return {level: self._level(text) for level, text in wanted.items()}

    def _level(self, spec: str) -> str:
        if spec == PRETRAINED:
            return self._pretrained.place(GENERATOR)
        return self._scale.models.get(spec, spec)

    def _build(
        self,
        label: str,
        *,
        hr: str,
        levels: Mapping[str, str],
        spec: RankDataSpec | None = None,
        **settings: Any,
    ) -> Unit:
        spec = spec or RankDataSpec()
        config = BuildConfig(
            hr=Path(hr),
            output=Path(DATASET),
            levels=dict(levels),
            label=spec.label,
            metric=spec.metric,
            **settings,
        )
        return self._units.add(
            "rank_data", label, config.model_dump(mode="json", exclude={"output"})
        )

    def _evaluation(
        self, plan: Plan, label: str, upscaler: str | None, seeds: tuple[int, ...]
    ) -> Unit:
        """Of a generator, or of the originals, by the judge of each of these seeds."""
        judge = plan.experiment.judge
        judges = (
            {}
            if judge is None
            else {f"{JUDGE}{s}": plan.rankers[judge, s].place(RANKER) for s in seeds}
        )
        return self._units.add(
            "evaluation",
            f"evaluation of {label}",
            {
                "upscaler": upscaler,
                "sets": dict(self._scale.test_sets),
                "judges": judges,
                "pictures": {name: list(kept) for name, kept in self._scale.pictures.items()},
            },
        )


def is_network_file(content: str | None) -> TypeGuard[str]:
    """Whether the content loss of a scale is a file's network and not one that has a name."""
    return content is not None and Path(content).suffix in WEIGHTS_SUFFIXES


def _with_all_before(unit: Unit) -> Iterator[Unit]:
    for before in unit.after:
        yield from _with_all_before(before)
    yield unit


def _mse(weight: float) -> list[str]:
    return [f"losses.pixel.weight={weight}", "losses.pixel.criterion=mse"]


def _set(key: str, text: str) -> str:
    """An override in quotes, since YAML reads meaning into some characters."""
    return f"{key}={json.dumps(text)}"
