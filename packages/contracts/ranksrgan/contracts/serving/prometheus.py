"""Metrics of a server for Prometheus, on an HTTP address of their own."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable, Iterable

import torch
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    Summary,
    make_wsgi_app,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from ranksrgan.contracts.errors import AddressInUse
from ranksrgan.contracts.serving.observer import Lengths
from ranksrgan.contracts.serving.page_server import PageServer
from ranksrgan.contracts.specs import is_sum

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
# What stands for all sums of scorers, of which clients make as many as they like.
_SUM = "sum"
# Names that get a line of their own. Work is of models that a server has, so they are its names,
# unless a catalog opens whatever it is asked for.
_MODELS = 100


class PrometheusObserver:
    """`Observer`: counts for a scrape what a server tells.

    The label ``model`` is a name that the server has, without options; ``sum`` for weighted sums of
    scorers, whichever they are.

    ranksrgan_requests_total{method,code}, ranksrgan_request_seconds{method},
    ranksrgan_queue_length{service,model}, ranksrgan_batch_size{model},
    ranksrgan_batch_seconds{model}, ranksrgan_model_load_seconds{model},
    ranksrgan_device_memory_bytes{device,kind}, process_resident_memory_bytes and what else
    prometheus-client tells of a process.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._lock = threading.Lock()
        self._models: set[str] = set()
        self._requests = Counter(
            "ranksrgan_requests",
            "Calls that have ended.",
            ["method", "code"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "ranksrgan_request_seconds",
            "From a call's arrival to its end.",
            ["method"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._sizes = Histogram(
            "ranksrgan_batch_size",
            "Images in one piece of a device's work.",
            ["model"],
            buckets=_SIZES,
            registry=self.registry,
        )
        self._batch_seconds = Histogram(
            "ranksrgan_batch_seconds",
            "Time of one piece of a device's work.",
            ["model"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._loads = Summary(
            "ranksrgan_model_load_seconds",
            "Loads of a model, for the first time or again, and their time.",
            ["model"],
            registry=self.registry,
        )
        self._queues = _Queues(self._name)
        self.registry.register(self._queues)
        ProcessCollector(registry=self.registry)
        self.registry.register(_DeviceMemory())

    def queues(self, lengths: Lengths) -> None:
        """See `Observer.queues`."""
        self._queues.lengths = lengths

    def batch(self, model: str, size: int, seconds: float) -> None:
        """See `Observer.batch`."""
        name = self._name(model)
        self._sizes.labels(name).observe(size)
        self._batch_seconds.labels(name).observe(seconds)

    def request(self, method: str, code: str, seconds: float) -> None:
        """See `Observer.request`."""
        self._requests.labels(method, code).inc()
        self._seconds.labels(method).observe(seconds)

    def loaded(self, model: str, seconds: float) -> None:
        """See `Observer.loaded`."""
        self._loads.labels(self._name(model)).observe(seconds)

    def _name(self, model: str) -> str:
        if is_sum(model):
            return _SUM
        name = model.partition("?")[0]
        with self._lock:
            if name not in self._models and len(self._models) >= _MODELS:
                return "other"
            self._models.add(name)
        return name


class MetricsPage:
    """The HTTP server of a registry; see `PageServer`.

    Args:
        address: ``HOST:PORT``; port 0 picks a free one.
        observer: whose counts are shown.

    Raises:
        AddressInUse: somebody listens there already, or nobody may.
    """

    def __init__(self, address: str, observer: PrometheusObserver) -> None:
        host, _, port = address.rpartition(":")
        try:
            self._server = PageServer(host.strip("[]"), int(port), make_wsgi_app(observer.registry))
        except OSError as error:
            raise AddressInUse(
                f"metrics: cannot listen on {address}: {error.strerror}", field="metrics"
            ) from error
        self.address = f"{host}:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="metrics", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Queues(Collector):
    """Asked at each scrape, so that no call counts and none can be forgotten.

    Args:
        label: of a model's name; several names have one, and are summed.

    Attributes:
        lengths: of the server; None before it begins.
    """

    def __init__(self, label: Callable[[str], str]) -> None:
        self.lengths: Lengths | None = None
        self._label = label
        self._lock = threading.Lock()
        self._shown: set[tuple[str, str]] = set()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "ranksrgan_queue_length",
            "Calls that wait for a device.",
            labels=["service", "model"],
        )
        lengths = {} if self.lengths is None else self.lengths()
        together: collections.Counter[tuple[str, str]] = collections.Counter()
        for (service, model), length in lengths.items():
            together[service, self._label(model)] += length
        with self._lock:  # what was there once stays there: a gauge that is missing is not 0
            self._shown.update(together)
            shown = sorted(self._shown)
        for labels in shown:
            family.add_metric(labels, together[labels])
        yield family


class _DeviceMemory(Collector):
    """Asked at each scrape; of devices that this process uses."""

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "ranksrgan_device_memory_bytes",
            "Memory of a device: allocated to tensors, reserved by this process, and all of it.",
            labels=["device", "kind"],
        )
        if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            for index in range(torch.cuda.device_count()):
                device = f"cuda:{index}"
                family.add_metric([device, "allocated"], torch.cuda.memory_allocated(index))
                family.add_metric([device, "reserved"], torch.cuda.memory_reserved(index))
                total = torch.cuda.get_device_properties(index).total_memory
                family.add_metric([device, "total"], total)
        yield family
