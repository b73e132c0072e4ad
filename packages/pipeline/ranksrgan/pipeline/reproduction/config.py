"""What an experiment and a scale can be told. An experiment is one claim; a scale is how large.

Both are YAML files, ``experiments/NAME.yaml`` and ``experiments/scales/SCALE.yaml``; the README
there explains them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from ranksrgan.contracts import config
from ranksrgan.contracts.config import Config
from ranksrgan.contracts.errors import UnknownName

#: The generator and discriminator that all methods of a scale go on from, as a level of rank data.
PRETRAINED = "pretrained"
BICUBIC = "bicubic"
GROUND_TRUTH = "ground truth"
BOUND = "upper bound"


class RankDataSpec(Config):
    """A rank dataset of an experiment; everything that is not said here is the scale's.

    Attributes:
        levels: name -> model of the scale, ``pretrained`` (the SRGAN that the methods start from),
            or what ``ranksrgan-rankdata`` takes (``hr``, ``blur:2``, ``interpolate:NAME:0.5``).
            With ``label: order`` from best to worst. None: the scale's.
        of: another rank dataset of the experiment whose pictures are labelled anew; then there are
            no levels here.
        label: ``metric`` or ``order``, see ``ranksrgan.rankdata``.
        metric: what orders the versions.
    """

    levels: dict[str, str] | None = None
    of: str | None = None
    label: Literal["metric", "order"] = "metric"
    metric: str = "niqe?border=4"

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if self.of is not None and self.levels is not None:
            raise ValueError("of: takes another set's pictures, so levels cannot be given as well")
        return self


class RankerSpec(Config):
    """A Ranker of an experiment, trained once for each seed.

    Attributes:
        rank_data: what it learns from, by name.
        judged: whether it is judged on held-out images; not where only its cost counts.
        judged_on: whose held-out images it is judged on; None: its own.
        vgg: whether it has the paper's architecture, whatever Rankers the scale has.
        recipe: of ``ranksrgan.ranker``, with its own length; None: the scale's recipe, settings and
            length.
        settings: of ``ranksrgan.ranker``, on top of those, each ``key=value``.
    """

    rank_data: str
    judged: bool = True
    judged_on: str | None = None
    vgg: bool = False
    recipe: str | None = None
    settings: tuple[str, ...] = ()


class MethodSpec(Config):
    """A generator of an experiment, trained once for each seed from the pretrained SRGAN.

    Attributes:
        rankers: whose losses are added, by name; each of the method's own seed. None: SRGAN.
        control: whether it is what the others are compared with.
        trained: whether it is trained and judged; else only its steps are timed.
        mse: weight of an MSE loss of pixels that takes the place of the scale's loss of pixels, as
            the paper counts it, see `Scale.mse`; None leaves the scale's.
        settings: of ``ranksrgan.srgan``, on top of the scale's, each ``section.key=value``.
    """

    rankers: tuple[str, ...] = ()
    control: bool = False
    trained: bool = True
    mse: Annotated[float, Field(ge=0)] | None = None
    settings: tuple[str, ...] = ()


class Comparison(Config):
    """One method is better than another by more than the seeds' spread, or not worse.

    Attributes:
        better: a row of the table.
        than: another one.
        column: by which figure.
        tolerance: then it is enough that it is worse by no more than this.
        groups: of rows, in each of which it is asked.
    """

    better: str
    than: str
    column: str
    tolerance: Annotated[float, Field(ge=0)] | None = None
    groups: tuple[str, ...] = ("Set14", "BSD100")


class Limit(Config):
    """A figure is at most so large.

    Attributes:
        method: a row of the table.
        column: which figure.
        at_most: its largest value, of the mean over the seeds.
        groups: of rows, in each of which it is asked.
    """

    method: str
    column: str
    at_most: float
    groups: tuple[str, ...]


class Experiment(Config):
    """One claim of the paper.

    Attributes:
        title: of its page.
        claim: in words.
        rank_data: by name.
        rankers: by name.
        methods: by name, in the order of the table.
        references: rows that nothing is trained for: ``bicubic``, ``models`` (all of the scale) or
            ``teachers`` (of the scale).
        bound: whether there is a row of the best choice among the scale's teachers.
        judge: the Ranker whose score is a column; None: no such column.
        extra_columns: further figures of the table, see ``columns.py``.
        ranker_rows: whether the Rankers' agreement with their metrics is part of the table.
        step_time: whether the cost of a training step is measured: the control's, and that of each
            other method over it.
        verdicts: what must come out, each a `Comparison` or a `Limit`.
        notes: paragraphs below the table.
    """

    title: str
    claim: str
    rank_data: dict[str, RankDataSpec] = Field(default_factory=dict)
    rankers: dict[str, RankerSpec] = Field(default_factory=dict)
    methods: dict[str, MethodSpec] = Field(default_factory=dict)
    references: tuple[Literal["bicubic", "models", "teachers"], ...] = ()
    bound: bool = False
    judge: str | None = None
    extra_columns: tuple[str, ...] = ()
    ranker_rows: bool = False
    step_time: bool = False
    verdicts: tuple[Comparison | Limit, ...] = Field(min_length=1)
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        unjudged = {name for name, ranker in self.rankers.items() if not ranker.judged}
        if unjudged and (self.ranker_rows or self.judge in unjudged):
            raise ValueError(f"rankers.{min(unjudged)}: the table has figures of it: judge it")
        for name, data in self.rank_data.items():
            _known(f"rank_data.{name}.of", data.of, self.rank_data)
            if data.of is not None and self.rank_data[data.of].of is not None:
                raise ValueError(f"rank_data.{name}.of: {data.of} has no pictures of its own")
        for name, ranker in self.rankers.items():
            _known(f"rankers.{name}.rank_data", ranker.rank_data, self.rank_data)
            _known(f"rankers.{name}.judged_on", ranker.judged_on, self.rank_data)
        for name, method in self.methods.items():
            for ranker_name in method.rankers:
                _known(f"methods.{name}.rankers", ranker_name, self.rankers)
        _known("judge", self.judge, self.rankers)
        if self.step_time and not any(method.control for method in self.methods.values()):
            raise ValueError("step_time: no method is the control that steps are compared with")
        return self


class Steps(Config):
    """How long each kind of training is.

    Attributes:
        initial: SRResNet by pixels alone, from which SRGAN starts.
        pretrained: SRGAN from it, from which all methods start.
        generator: each method.
    """

    initial: PositiveInt
    pretrained: PositiveInt
    generator: PositiveInt


class RankDataScale(Config):
    """Crops of rank data.

    Attributes:
        crop: their side in pixels.
        stride: between crops to learn from.
        held_out_stride: between crops to judge on.
        val: share of the images that choose the best Ranker.
        sources: how many images are used; None: all.
    """

    crop: PositiveInt = 296
    stride: PositiveInt = 200
    held_out_stride: PositiveInt = 200
    val: Annotated[float, Field(gt=0, lt=1)] = 0.1
    sources: PositiveInt | None = None


class RankerScale(Config):
    """Rankers of a scale.

    Attributes:
        steps: of their training.
        recipe: of ``ranksrgan.ranker``.
        settings: on top of it, each ``key=value``.
    """

    steps: PositiveInt
    recipe: str = "paper"
    settings: tuple[str, ...] = ()


class StepTiming(Config):
    """How step times are measured.

    Attributes:
        rounds: in which the methods take turns.
        steps: of each method in a round.
    """

    rounds: PositiveInt = 3
    steps: PositiveInt = 20


class Scale(Config):
    """Sizes and lengths of everything.

    Attributes:
        about: one sentence that stands below every table.
        content: whose features the content loss compares (``losses.perceptual.network``); null
            leaves it out.
        training: folders of the data that are learnt from, ``@data/...``.
        held_out: the test set whose crops judge Rankers.
        test_sets: folder by name, ``@data/...``.
        validation: the test set of the convergence curves.
        models: generators that are levels of rank data, by name; a file, ``@data/...``.
        model_titles: what tables call them.
        teachers: those of them whose bound is asked for.
        levels: of rank data that names none, as in `RankDataSpec`; None: all models.
        start: weights that the SRGAN goes on from, by the name by which ``ranksrgan.srgan`` ships
            them; None: an SRResNet that is trained first.
        steps: see `Steps`.
        validations: how often a training validates.
        initial: settings of the recipe ``srresnet``.
        gan: settings of every SRGAN and RankSRGAN, pretraining included.
        mse: what a weight of 1 of an MSE loss is here that the paper's table gives: content losses
            of other features are of another size.
        method: further ones of what is compared.
        ranked: further ones of those with Rankers.
        rank_data: see `RankDataScale`.
        ranker: the Rankers of the claims, see `RankerScale`.
        vgg: those that are to have the paper's architecture; None: all have it.
        step_timing: see `StepTiming`.
        pretraining_seed: of SRResNet and of the SRGAN that all methods start from, whatever the
            seeds of the methods.
        pictures: images of each test set that are kept for looking at.
    """

    about: str
    content: str | None
    training: tuple[str, ...] = Field(min_length=1)
    test_sets: dict[str, str] = Field(min_length=1)
    held_out: str
    validation: str
    models: dict[str, str]
    model_titles: dict[str, str] = Field(default_factory=dict)
    teachers: Annotated[tuple[str, ...], Field(min_length=2)]
    levels: dict[str, str] | None = None
    start: str | None = None
    steps: Steps
    validations: PositiveInt = 4
    initial: tuple[str, ...] = ()
    gan: tuple[str, ...] = ()
    mse: Annotated[float, Field(gt=0)] = 1.0
    method: tuple[str, ...] = ()
    ranked: tuple[str, ...] = ()
    rank_data: RankDataScale = RankDataScale()
    ranker: RankerScale
    vgg: RankerScale | None = None
    step_timing: StepTiming = StepTiming()
    pretraining_seed: NonNegativeInt = 0
    pictures: dict[str, tuple[str, ...]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        for key in ("held_out", "validation"):
            _known(key, getattr(self, key), self.test_sets)
        for name in self.pictures:
            _known("pictures", name, self.test_sets)
        for name in self.teachers:
            _known("teachers", name, self.models)
        return self

    def models_of(self, references: Sequence[str]) -> list[str]:
        """The models that rows of references are for, ``bicubic`` left out."""
        meant = {"models": self.models, "teachers": self.teachers}
        return [model for name in references for model in meant.get(name, ())]

    def title_of(self, model: str) -> str:
        """What tables call a model."""
        return self.model_titles.get(model, model)


def load_experiment(folder: Path, name: str) -> Experiment:
    """Read ``NAME.yaml`` of a folder of experiments.

    Raises:
        UnknownName: there is none; lists those there are.
        InvalidConfig: unknown key, wrong type, or a name that stands for nothing.
    """
    offered = config.recipe_names(folder)
    if name not in offered:
        raise UnknownName(
            f"{folder} has no experiment {name!r}: it is one of {', '.join(offered) or 'none'} "
            "(--experiments names the folder)",
            field=name,
        )
    return config.load_recipe(Experiment, folder, name)


def load_scale(folder: Path, name: str, overrides: Sequence[str] = ()) -> Scale:
    """Read ``scales/NAME.yaml`` of a folder of experiments, or a YAML file.

    Args:
        folder: of the experiments.
        name: of a scale, or the path of a file that ends in ``.yaml``.
        overrides: ``key.key=value`` each.

    Raises:
        UnknownName: there is none, or the folder has no scales at all.
        InvalidConfig: unknown key or wrong type.
    """
    is_file = Path(name).suffix in {".yaml", ".yml"}
    if not is_file and not config.recipe_names(folder / "scales"):
        what = "has no scales" if folder.is_dir() else "is no folder"
        raise UnknownName(
            f"{folder} {what}: --experiments names that of the experiments and their scales",
            field=str(folder),
        )
    return config.load_recipe(Scale, folder / "scales", name, overrides)


def _known(key: str, name: str | None, known: Collection[str]) -> None:
    if name is not None and name not in known:
        raise ValueError(f"{key}: {name!r} is none of: {', '.join(known)}")
