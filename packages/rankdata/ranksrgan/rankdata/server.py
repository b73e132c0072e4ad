"""The rank data service: ``RankDataService`` and its operations, over a data root.

ROOT/datasets/NAME                       rank datasets, read and built
ROOT/images/NAME                         high-resolution images, finished results
ROOT/models/NAME.safetensors|.pth|.pt    generators
ROOT/generators/NAME                     generators that the srgan service has trained
ROOT/operations/                         builds, running and done
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ranksrgan.contracts import rpc
from ranksrgan.contracts.config_limits import check_limits
from ranksrgan.contracts.data_root import DataRoot
from ranksrgan.contracts.discovery import from_anywhere
from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.operations.rank_data_service import BUILD_OPERATION, RankDataServicer
from ranksrgan.contracts.operations.servicer import OperationsServicer
from ranksrgan.contracts.operations.supervisor import JobLimits, Supervisor
from ranksrgan.contracts.operations.watched_job import JobReport
from ranksrgan.rankdata.building.build import other_parameters
from ranksrgan.rankdata.building.limits import SETTING, BuildLimits, check_build
from ranksrgan.rankdata.building.request import check_metrics, read_config
from ranksrgan.rankdata.catalog import DATASETS, DatasetCatalog
from ranksrgan.rankdata.folder import holds_dataset
from ranksrgan.rankdata.levels import by_stem
from ranksrgan.rankdata.settings import RankDataServerSettings

SERVICE = "rankdata"
BUILD = "BuildRankDataset"


class Builds:
    """`DatasetBuilds`: each is a job of the supervisor's, in a process of its own."""

    def __init__(
        self,
        root: DataRoot,
        upscalers: Mapping[str, str],
        jobs: Supervisor,
        limits: BuildLimits,
    ) -> None:
        self._root = root
        self._limits = limits
        self._upscalers = upscalers
        self._jobs = jobs

    def submit(self, dataset_id: str, config: dict[str, Any], request_id: str) -> JobReport:
        """See `DatasetBuilds.submit`. The job gets names, and looks them up when it begins."""
        name = f"{DATASETS}/{dataset_id}"
        return self._jobs.submit(
            BUILD,
            name,
            {"config": config},
            request_id,
            prepare=lambda: self._prepare(name, config),
            field="dataset_id",
        )

    def _prepare(self, name: str, config: dict[str, Any]) -> dict[str, Any]:
        """Find out now what is wrong with a request; what the job gets beside it."""
        target = self._root.place(name, DATASETS, "dataset_id")
        with self._root.hiding_paths():
            check_limits(config, self._limits, SETTING)
            wanted = read_config(config, self._root, self._upscalers, target)
            check_build(wanted, self._limits)
            check_metrics(wanted)
            by_stem(wanted.hr)  # that there is no image is found out now
            difference = other_parameters(target, wanted) if holds_dataset(target) else None
            if difference is not None:
                raise InvalidInput(
                    f"dataset_id: {name} is there, and is another dataset ({difference}); choose "
                    "another name",
                    field="dataset_id",
                )
        specs = {level.partition("=")[2] for level in config["levels"]}
        given = {name: spec for name, spec in self._upscalers.items() if name in specs}
        return {"upscalers": given}


def serve(settings: RankDataServerSettings) -> int:
    """Serve rank datasets until SIGTERM.

    A build that SIGTERM interrupts goes on when the next server of this root is started.

    Raises:
        InvalidInput, InvalidConfig: see `RankDataServerSettings.check`.
        AddressInUse: another server has the address, or the builds of this root.
    """
    root = DataRoot(settings.data_root)
    limits = JobLimits(running=settings.builds, each=settings.client_limits.operations)
    jobs = Supervisor(root, SERVICE, {BUILD: "ranksrgan.rankdata.job"}, limits)
    operations = OperationsServicer(jobs, {BUILD: BUILD_OPERATION})
    specs = {name: from_anywhere(spec) for name, spec in settings.upscalers.items()}
    builds = Builds(root, specs, jobs, settings.build_limits)
    servicer = RankDataServicer(DatasetCatalog(root), builds, operations)
    services = rpc.Services([servicer, operations], jobs)
    names = [service.full_name for service in services.servicers]
    return rpc.serve(settings, names, lambda observers: services)
