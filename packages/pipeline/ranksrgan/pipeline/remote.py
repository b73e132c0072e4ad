"""The stages of a pipeline at services, each as one of their long-running operations.

    1-srresnet   generators/RUN-srresnet
    2-srgan      generators/RUN-srgan, from 1
    3-rankdata   datasets/RUN
    4-ranker     rankers/RUN
    5-ranksrgan  generators/RUN-ranksrgan, from 2
    6-control    generators/RUN-control, from 2

RUN is the last part of the configuration's output. The services share one data root: what one of
them makes is what the next one takes, by name. The configuration is that of a run in this process,
with folders of images by their names there (``images/faces``), and the weights are the same.

A request's id is made of what it asks for, and of the weights that this begins from: names alone
would find what was made of others. Asking again, after an interruption or from another machine,
finds the operation, whether it is running or done; only one that has failed or was cancelled is
asked for anew, and goes on from its last saved state. What was made from weights that others have
replaced since is asked for anew too, and the services refuse to go on with it.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ranksrgan.contracts.clients.generator_training import GeneratorTrainingClient
from ranksrgan.contracts.clients.operations import RemoteOperation
from ranksrgan.contracts.clients.rank_data import RankDataClient
from ranksrgan.contracts.clients.ranker_training import RankerTrainingClient
from ranksrgan.contracts.data_root import check_id
from ranksrgan.contracts.errors import InvalidInput, RankSRGANError
from ranksrgan.contracts.follow import PATIENCE
from ranksrgan.contracts.ranker_training import TrainingRequest
from ranksrgan.pipeline import plan
from ranksrgan.pipeline.beforehand import check_stages
from ranksrgan.pipeline.config import GeneratorStage, PipelineConfig

Service = Literal["rankdata", "ranker", "srgan"]
#: Is given each operation until it is done; whoever raises in it leaves the run, not the operation.
Watch = Callable[[Service, RemoteOperation], None]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServiceAddresses:
    """Where the services are, each ``HOST:PORT`` or ``unix:PATH``."""

    rankdata: str
    ranker: str
    srgan: str


@dataclass(frozen=True)
class Made:
    """What an operation has left in the services' data root.

    Attributes:
        name: of it (``generators/first-srgan``).
        operation: that made it (``operations/ID``).
        parameters_hash: of the weights, see `hash_tensors`; empty for a rank dataset.
        scores: of the weights by metric: a generator's on the held-out images after its last step,
            a Ranker's agreement on those that chose its weights. Empty for a rank dataset.
    """

    name: str
    operation: str
    parameters_hash: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)


def run_remotely(
    config: PipelineConfig, addresses: ServiceAddresses, watch: Watch | None = None
) -> dict[str, Made]:
    """Have every stage made, or find what was made before.

    Args:
        config: ``training`` and ``held_out`` are ``images/NAME`` in the data root; the last part of
            ``output`` names the results. Recipes and settings are those of this machine.
        addresses: of services over one data root.
        watch: see `Watch`; waits in silence by default.

    Returns:
        What each stage has made, by the stage's name (``5-ranksrgan``).

    Raises:
        InvalidInput: images or output without such a name; networks to begin from or to compare
            with; a service that cannot do what is asked for, or has something else of that name.
            ``field`` is the key.
        InvalidConfig: a setting of any stage, before anything is asked for.
        UnknownName: there are no such images.
        ServiceUnavailable: one was gone for longer than half a minute.
        RankSRGANError: what ended an operation.
    """
    return _RemoteRun(config, addresses, watch or _wait).run()


def _wait(service: Service, operation: RemoteOperation) -> None:
    operation.wait()


class _RemoteRun:
    def __init__(self, config: PipelineConfig, addresses: ServiceAddresses, watch: Watch) -> None:
        if config.trained is not None:
            raise InvalidInput(
                "trained: networks to begin from are for a run in this process; services train all "
                "of them",
                field="trained",
            )
        if config.compare:
            raise InvalidInput(
                "compare: upscalers to judge beside are for a run in this process; services judge "
                "what they train",
                field="compare",
            )
        for key, folder in (("training", config.training), ("held_out", config.held_out)):
            kind, _, name = folder.as_posix().partition("/")
            if kind != "images":
                raise InvalidInput(
                    f"{key}: a service learns from images/NAME of its data root, not {folder}",
                    field=key,
                )
            check_id(name, key)
        self._config = config
        self._run = check_id(config.output.name, "output")
        check_stages(config)
        self._watch = watch
        self._rankdata = RankDataClient(addresses.rankdata, retry_for=PATIENCE)
        self._rankers = RankerTrainingClient(addresses.ranker, retry_for=PATIENCE)
        self._generators = GeneratorTrainingClient(addresses.srgan, retry_for=PATIENCE)

    def run(self) -> dict[str, Made]:
        try:
            return self._stages()
        finally:
            for client in (self._rankdata, self._rankers, self._generators):
                client.close()

    def _stages(self) -> dict[str, Made]:
        config = self._config
        made: dict[str, Made] = {}
        log.info("1 of 6: SRResNet")
        srresnet = made["1-srresnet"] = self._generator("srresnet", config.srresnet)
        log.info("2 of 6: SRGAN")
        start = plan.from_generator(srresnet.name)
        srgan = made["2-srgan"] = self._generator("srgan", config.srgan, start, [srresnet])
        log.info("3 of 6: rank data")
        levels = plan.levels(config, srresnet.name, srgan.name)
        ranked = made["3-rankdata"] = self._rank_data(levels, [srresnet, srgan])
        log.info("4 of 6: Ranker")
        ranker = made["4-ranker"] = self._ranker(ranked)
        log.info("5 of 6: RankSRGAN")
        start = plan.from_gan(srgan.name, srgan.name)  # the folder of a training has both
        rank = plan.ranked_by(ranker.name)
        made["5-ranksrgan"] = self._generator(
            "ranksrgan", config.ranksrgan, [*start, rank], [srgan, ranker]
        )
        if config.control is not None:
            log.info("6 of 6: the control, SRGAN for as many steps")
            made["6-control"] = self._generator("control", config.control, start, [srgan])
        return made

    def _generator(
        self,
        name: str,
        stage: GeneratorStage,
        start: Sequence[str] = (),
        made_from: Sequence[Made] = (),
    ) -> Made:
        wanted = plan.generator_config(self._config, stage, start)
        content = wanted.model_dump(mode="json", exclude_unset=True)
        generator_id = f"{self._run}-{name}"

        def ask(request_id: str) -> RemoteOperation:
            return self._generators.train(generator_id, content, request_id=request_id)

        operation, trained = self._see_through("srgan", generator_id, content, made_from, ask)
        scores = dict(trained.validation.scores)
        return Made(trained.name, operation.name, trained.parameters_hash, scores)

    def _rank_data(self, levels: Mapping[str, str], made_from: Sequence[Made]) -> Made:
        config, dataset_id = self._config, self._run
        output = Path(dataset_id)  # the service's matter; the configuration cannot be without one
        wanted = plan.rank_data_config(
            config, levels, config.training, output, val=config.rankdata.val, test=0.0
        )
        content = wanted.model_dump(mode="json", exclude={"output"}, exclude_unset=True)
        content["levels"] = [f"{name}={spec}" for name, spec in levels.items()]

        def ask(request_id: str) -> RemoteOperation:
            return self._rankdata.build(dataset_id, content, request_id=request_id)

        operation, dataset = self._see_through("rankdata", dataset_id, content, made_from, ask)
        return Made(dataset.name, operation.name)

    def _ranker(self, dataset: Made) -> Made:
        wanted = plan.ranker_config(self._config)
        request = TrainingRequest(
            dataset=dataset.name,
            split="train",
            validation_split="val",
            config=wanted.model_dump(mode="json", exclude_unset=True),
        )

        def ask(request_id: str) -> RemoteOperation:
            return self._rankers.train(self._run, request, request_id=request_id)

        content = request.model_dump()
        operation, trained = self._see_through("ranker", self._run, content, [dataset], ask)
        names = ("srocc", "srocc_per_content", "pair_accuracy")
        found = trained.validation
        scores = {
            name: float(getattr(found, name))
            for name in names
            if name == "srocc" or found.HasField(name)
        }
        return Made(trained.name, operation.name, trained.parameters_hash, scores)

    def _see_through(
        self,
        service: Service,
        result_id: str,
        content: Mapping[str, Any],
        made_from: Sequence[Made],
        ask: Callable[[str], RemoteOperation],
    ) -> tuple[RemoteOperation, Any]:
        """Ask, have it watched, and return the operation with its response."""
        operation = _asked(f"{result_id}-{_digest(content, made_from)}", ask)
        self._watch(service, operation)
        return operation, operation.result()


def _asked(request: str, ask: Callable[[str], RemoteOperation]) -> RemoteOperation:
    """The operation of a request: a new one where there is none, or none that went well."""
    attempt = 0
    while True:
        attempt += 1
        operation = ask(f"{request}-{attempt}")
        if not operation.wait(0):  # as the service's answer says, without asking again
            return operation
        try:
            operation.result()
        except RankSRGANError as error:
            log.info("%s had ended: %s; asking again", operation.name, error)
        else:
            return operation


def _digest(content: Mapping[str, Any], made_from: Sequence[Made]) -> str:
    """Of what is asked for and what it is made from: weights, or the operation of a dataset."""
    text = json.dumps(content, sort_keys=True)
    text += "".join(f"\n{made.parameters_hash or made.operation}" for made in made_from)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
