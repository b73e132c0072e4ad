"""What an operator sets of a server: a YAML file, then the environment, then flags; the last wins.

    workers: 4                      RANKSRGAN_WORKERS=4                  --workers 4
    tls: {certificate: c.pem}       RANKSRGAN_TLS__CERTIFICATE=c.pem     --tls-certificate c.pem

Sections are merged key by key. A variable that is empty counts as not set, and one in braces or
brackets is YAML (``RANKSRGAN_MODELS='{x4: x4.safetensors}'``, ``RANKSRGAN_ADMINISTRATORS='[me]'``).
Each package's server has a class of its own on top of these, with what it serves.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, Field, model_validator

from ranksrgan.contracts.config import Config, make_config, merged
from ranksrgan.contracts.data_root import DataRoot
from ranksrgan.contracts.errors import InvalidConfig, InvalidInput
from ranksrgan.contracts.serving.addresses import (
    cannot_both_listen,
    is_local,
    listening,
    tcp_address,
)
from ranksrgan.contracts.serving.client_limits import ClientLimits
from ranksrgan.contracts.serving.spool import Spool
from ranksrgan.contracts.serving.variables import PREFIX, require_unlike_settings, variable
from ranksrgan.contracts.specs import WEIGHTS_SUFFIXES, is_remote, parse_remote
from ranksrgan.contracts.yaml_text import parse_yaml, read_yaml

#: Of each kind, at a time: each is a thread while it is open.
MOST_CALLS = 2**16
#: Of any wait: eleven days.
MOST_SECONDS = 1e6


class TlsSettings(Config):
    """Encryption.

    Attributes:
        certificate: PEM file, the server's own first, then those between it and the authority's.
        key: PEM file of its private key, without a passphrase.
        client_ca: PEM file of authorities. With it every client has to show a certificate that one
            of them has signed, and is known by its common name, or else its first alternative one.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None


class RepositorySettings(Config):
    """Which repository a server offers, and what may be done with it.

    Attributes:
        root: the folder; None for none.
        poll: seconds between two looks at it for what is new or has changed; None for none.
        manage: whether clients may load, unload and reload models.
    """

    root: Path | None = None
    poll: Annotated[float, Field(gt=0)] | None = None
    manage: bool = False

    @model_validator(mode="after")
    def _there_is_one(self) -> Self:
        if self.root is None and (self.poll is not None or self.manage):
            raise ValueError(
                "to poll or to manage a model repository, name one: --model-repository-root ROOT"
            )
        return self


class ServerSettings(Config):
    """What every server has.

    Attributes:
        listen: ``HOST:PORT`` (port 0 picks a free one) or ``unix:PATH``.
        workers: requests worked on at a time.
        queue: requests that may wait for a worker.
        streams: streams that may be open beside those.
        waiters: calls that may be waiting for the end of a long job beside those.
        max_message_mib: of one request, in MiB.
        arrival: seconds that a request, or the next part of an image, may take to come, and an
            answer to be read.
        grace: seconds that requests in flight get to finish after SIGTERM.
        connection_age: seconds after which a client is asked to connect anew, when its calls under
            way have ended: behind a name that stands for several servers it then finds those that
            are new. None: never.
        tls: encryption; without it there is none.
        tokens: file of those who may call, see `token_file`; without it everybody may.
        tokens_in_clear: take tokens without encryption from other machines too. Whoever sees the
            network then has them.
        administrators: names of the tokens or certificates whose clients may call what is for
            operators, such as loading models; without any, whoever may call may call that too. And
            that may end what other clients have begun, which without any nobody may.
        client_limits: of each client.
        reflection: whether clients may ask which methods there are.
        metrics: ``HOST:PORT`` of a page for Prometheus; without it there is none.
        log_format: of standard error, one JSON object or one line of text an event.
        traces: send OpenTelemetry spans, where its own ``OTEL_...`` variables say.
    """

    listen: Annotated[str, AfterValidator(listening)]
    workers: int = Field(2, ge=1, le=MOST_CALLS)
    queue: int = Field(16, ge=0, le=MOST_CALLS)
    streams: int = Field(16, ge=0, le=MOST_CALLS)
    waiters: int = Field(32, ge=0, le=MOST_CALLS)
    max_message_mib: int = Field(64, ge=1, le=2047)
    arrival: float = Field(60.0, gt=0, le=MOST_SECONDS)
    grace: float = Field(30.0, ge=0, le=MOST_SECONDS)
    connection_age: float | None = Field(None, ge=1, le=MOST_SECONDS)
    tls: TlsSettings | None = None
    tokens: Path | None = None
    tokens_in_clear: bool = False
    administrators: tuple[str, ...] = ()
    client_limits: ClientLimits = ClientLimits()
    reflection: bool = True
    metrics: Annotated[str, AfterValidator(tcp_address)] | None = None
    log_format: Literal["json", "text"] = "text"
    traces: bool = False

    @property
    def max_message_bytes(self) -> int:
        """Of one request."""
        return self.max_message_mib * 2**20

    def check(self) -> None:
        """Find out what is wrong before anything listens; reads the files that are named.

        Raises:
            InvalidConfig: a file that cannot be read or is not what it should be, or settings that
                contradict each other; names the file or the key.
        """
        from ranksrgan.contracts.serving.socket_file import SocketFile
        from ranksrgan.contracts.serving.tls import check_client_ca, read_certificate
        from ranksrgan.contracts.serving.token_file import read_tokens
        from ranksrgan.contracts.serving.tracing import require_sdk

        if self.listen.startswith("unix:"):
            SocketFile(self.listen).require_no_other()
        if self.tls is not None:
            if self.listen.startswith("unix:"):
                raise InvalidConfig("tls: a unix socket needs no encryption", field="tls")
            read_certificate(self.tls.certificate, self.tls.key)
            if self.tls.client_ca is not None:
                check_client_ca(self.tls.client_ca)
        if self.tokens is not None:
            read_tokens(self.tokens)
            if self.tls is None and not self.tokens_in_clear and not is_local(self.listen):
                raise InvalidConfig(
                    f"tokens would cross the network in clear at {self.listen}: set tls, listen on "
                    "loopback or a unix socket, or say tokens_in_clear",
                    field="tokens",
                )
        self._check_metrics()
        if self.administrators and self.tokens is None and self._client_ca is None:
            raise InvalidConfig(
                "administrators are known by their tokens or certificates, and without those "
                "nobody is one: set tokens or tls.client_ca",
                field="administrators",
            )
        if self.traces:
            require_sdk()

    def _check_metrics(self) -> None:
        if self.metrics is None or self.listen.startswith("unix:"):
            return
        if cannot_both_listen(self.listen, self.metrics):
            raise InvalidConfig(
                f"metrics: the server itself listens at {self.listen}; choose another port",
                field="metrics",
            )

    @property
    def _client_ca(self) -> Path | None:
        return None if self.tls is None else self.tls.client_ca


class ImageServerSettings(ServerSettings):
    """Of a server whose clients send images.

    Attributes:
        max_pixels: of one image.
        batch_size: images of several requests that a model works on together at most.
        batch_wait: seconds that work for a model waits for others to join it.
        spool: folder for what streams bring, until it is whole, and for results in TIFF; None is
            the system's for temporary files.
        spool_mib: of all that is there at a time, in MiB.
    """

    max_pixels: int = Field(2**24, ge=1)
    batch_size: int = Field(8, ge=1, le=2**16)
    batch_wait: float = Field(0.005, ge=0, le=60)
    spool: Path | None = None
    spool_mib: int = Field(8192, ge=1)

    def open_spool(self) -> Spool:
        """Room for the files of streams.

        Raises:
            InvalidInput: see `Spool`.
        """
        return Spool(self.spool, self.spool_mib * 2**20)

    def check(self) -> None:
        super().check()
        self.open_spool()


class ModelServerSettings(ImageServerSettings):
    """Of a server of models that can be trained too.

    Attributes:
        model_repository: models with versions, offered beside those that are named.
        data_root: folder to train in; without it there are no trainings.
        trainings: at a time; more wait.
    """

    model_repository: RepositorySettings = RepositorySettings()
    data_root: Path | None = None
    trainings: int = Field(1, ge=1)

    def check(self) -> None:
        super().check()
        root = self.model_repository.root
        if root is not None and not root.is_dir():
            raise InvalidConfig(
                f"model_repository: {root} is no folder", field="model_repository.root"
            )
        if self.data_root is not None:
            DataRoot(self.data_root).require_writable()


S = TypeVar("S", bound=ServerSettings)


def load_settings(
    kind: type[S],
    file: Path | None,
    environment: Mapping[str, str],
    flags: Mapping[str, Any],
) -> S:
    """Put a server's settings together.

    Args:
        kind: the settings of the package's server.
        file: YAML; None for none.
        environment: ``os.environ``; variables of others are passed over.
        flags: those that were given, by dotted key (``tls.certificate``).

    Raises:
        InvalidConfig: unreadable, unknown key or wrong value; names the file, variable or flag.
    """
    layers: list[tuple[str, Mapping[str, Any]]] = []
    if file is not None:
        layers.append((str(file), read_yaml(file)))
    layers += [(name, _from_variable(kind, name, text)) for name, text in _set(environment)]
    layers += [(_flag(key), _nested(key.split("."), value)) for key, value in flags.items()]
    content: dict[str, Any] = {}
    for _, layer in layers:
        content = merged(content, layer)

    def where(key: str) -> str:
        parts = key.split(".")
        # Of those that say as much of it, the last one has won.
        depths = [(_depth(layer, parts), name) for name, layer in reversed(layers)]
        depth, name = max(depths, key=lambda found: found[0], default=(0, ""))
        if depth:
            return name
        return f"give {_flag(key)}, {variable(key)} or a key of a --config file"

    return make_config(kind, content, where)


def require_weights(specs: Mapping[str, Path] | Mapping[str, str], key: str) -> None:
    """Find out whether files are there that names stand for, and whether addresses of services are
    some; what is neither is passed over.

    Args:
        specs: paths or specs, options included, by name.
        key: of the settings that holds them.

    Raises:
        InvalidConfig: one is not there, or is no address; names the key and the file.
    """
    for name, spec in specs.items():
        path = Path(str(spec).partition("?")[0])
        if isinstance(spec, str) and is_remote(spec):
            try:
                parse_remote(spec)
            except InvalidInput as error:
                where = f"{key}.{name}"
                raise InvalidConfig(f"{where}: {error.message}", field=where) from error
            continue
        if isinstance(spec, str) and path.suffix not in WEIGHTS_SUFFIXES:
            continue
        if not path.is_file():
            raise InvalidConfig(f"{key}.{name}: there is no file {path}", field=f"{key}.{name}")


def _set(environment: Mapping[str, str]) -> list[tuple[str, str]]:
    given = environment.items()
    return sorted((name, text) for name, text in given if text and name.upper().startswith(PREFIX))


def _from_variable(kind: type[ServerSettings], name: str, text: str) -> dict[str, Any]:
    keys = name.removeprefix(PREFIX).lower().split("__")
    if keys[0] not in kind.model_fields:
        require_unlike_settings(kind, name, text)
        return {}
    trimmed = text.strip()
    # An address ([::1]:50051) may begin with a bracket, but ends with none.
    if not (trimmed.startswith("{") or (trimmed.startswith("[") and trimmed.endswith("]"))):
        return _nested(keys, text)
    return _nested(keys, parse_yaml(text, name))


def _nested(keys: list[str], value: Any) -> dict[str, Any]:
    for key in reversed(keys):
        value = {key: value}
    return dict(value)


def _depth(layer: Any, parts: list[str]) -> int:
    """How many parts of a key a layer has."""
    for depth, part in enumerate(parts):
        if not isinstance(layer, Mapping) or part not in layer:
            return depth
        layer = layer[part]
    return len(parts)


def _flag(key: str) -> str:
    return "--" + key.replace(".", "-").replace("_", "-")
