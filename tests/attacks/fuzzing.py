"""Malformed requests for every method that a server's reflection tells of, and what came back.

Requests go out as raw bytes. A method without a sample in `samples` gets messages filled at random,
so that a service that is added later is attacked without anybody thinking of it.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.rpc import status_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from grpc_status import rpc_status

from ranksrgan.contracts.rpc import open_channel
from tests.attacks.mutations import filled, mutated
from tests.attacks.samples import SAMPLES
from tests.attacks.targets import Target

#: What a malformed request may be answered with; the table in the README of contracts says when.
DOCUMENTED = frozenset(
    {
        grpc.StatusCode.OK,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }
)
_INTERNALS = re.compile(
    r"Traceback|File \"|\.py\b|site-packages|object at 0x|<class|Exception (calling|deserializing)|"
    r"\b(Value|Type|Key|Index|Attribute|Runtime|Overflow|Assertion|Recursion|Memory|OS|Unicode\w*)"
    r"Error\b|pydantic|\btorch/"
)
_IN_FLIGHT = 6
_DEADLINE = 60.0
# A stream may be endless by its nature, and so may a wait.
_STREAM_DEADLINE, _MOST_ANSWERS = 5.0, 3
_ENDLESS = frozenset({"grpc.health.v1.Health/Watch"})
_ENDLESS_DEADLINE = 0.2


@dataclass
class Findings:
    """What an attack has found.

    Attributes:
        codes: how often each status came.
        problems: answers that should not be, with the request in hex.
    """

    codes: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Answer:
    """The end of a call."""

    code: grpc.StatusCode
    text: str


class Attack:
    """Requests to one server.

    Args:
        target: runs, with reflection.
        secrets: texts that no answer may hold: where the server keeps its files.
    """

    def __init__(self, target: Target, secrets: tuple[str, ...]) -> None:
        self._target = target
        self._secrets = secrets
        self._channel = open_channel(target.address)
        self._database = ProtoReflectionDescriptorDatabase(self._channel)
        self._pool = descriptor_pool.DescriptorPool(self._database)

    def close(self) -> None:
        self._channel.close()

    def services(self) -> list[str]:
        """Their full names."""
        return sorted(self._database.get_services())

    def warm_up(self) -> None:
        """Send every valid sample a few times, so that what a server loads once is there."""
        with ThreadPoolExecutor(_IN_FLIGHT) as threads:
            for service in self.services():
                for method in self._pool.FindServiceByName(service).methods:
                    valid = [sample.SerializeToString() for sample in self._samples(method)]
                    list(threads.map(lambda data, m=method: self._call(m, data), 4 * valid))

    def run(self, service: str, count: int, seed: int) -> Findings:
        """Send so many requests to a service, in equal parts to its methods.

        The same seed sends the same requests.
        """
        findings = Findings()
        methods = list(self._pool.FindServiceByName(service).methods)
        with ThreadPoolExecutor(_IN_FLIGHT) as threads:
            for method in methods:
                requests = self._requests(method, -(-count // len(methods)), seed)
                answers = threads.map(lambda data, m=method: (data, self._call(m, data)), requests)
                for data, answer in answers:
                    findings.codes[answer.code.name] += 1
                    problem = self._problem(answer)
                    if problem:
                        findings.problems.append(
                            f"{service}/{method.name}: {problem}: {answer.code.name} "
                            f"{answer.text[:300]!r} for {data[:300].hex()}"
                        )
        return findings

    def _requests(self, method: MethodDescriptor, count: int, seed: int) -> Iterator[bytes]:
        chance = random.Random(f"{seed} {self._target.name} {method.full_name}")
        kind = message_factory.GetMessageClass(method.input_type)
        valid = self._samples(method)
        for _ in range(count):
            yield mutated(valid or [filled(kind(), chance)], chance)

    def _samples(self, method: MethodDescriptor) -> list[Message]:
        kind = message_factory.GetMessageClass(method.input_type)
        name = f"{method.containing_service.full_name}/{method.name}"
        return [
            json_format.ParseDict(
                sample, kind(), ignore_unknown_fields=True, descriptor_pool=self._pool
            )
            for sample in SAMPLES.get(name, [])
        ]

    def _call(self, method: MethodDescriptor, data: bytes) -> Answer:
        name = f"{method.containing_service.full_name}/{method.name}"
        path, timeout = f"/{name}", _DEADLINE
        if method.client_streaming or method.server_streaming:
            timeout = _ENDLESS_DEADLINE if name in _ENDLESS else _STREAM_DEADLINE
        call = None
        try:
            if method.client_streaming and method.server_streaming:
                call = self._channel.stream_stream(path)(iter([data, data]), timeout=timeout)
            elif method.server_streaming:
                call = self._channel.unary_stream(path)(data, timeout=timeout)
            elif method.client_streaming:
                self._channel.stream_unary(path)(iter([data, data]), timeout=timeout)
            else:
                self._channel.unary_unary(path)(data, timeout=timeout)
            if call is not None:
                # What an item of a stream says of itself is read as an error's text is.
                parts = [part for part, _ in zip(call, range(_MOST_ANSWERS), strict=False)]
                call.cancel()
                return Answer(grpc.StatusCode.OK, b" ".join(parts).decode("latin-1"))
        except grpc.RpcError as error:
            return Answer(error.code(), _texts(error))
        return Answer(grpc.StatusCode.OK, "")

    def _problem(self, answer: Answer) -> str | None:
        if answer.code not in DOCUMENTED:
            return "not a documented code"
        if answer.code == grpc.StatusCode.OK:
            return None if not any(secret in answer.text for secret in self._secrets) else "leak"
        if any(secret in answer.text for secret in self._secrets):
            return "a path of the server leaks"
        if _INTERNALS.search(answer.text):
            return "internals leak"
        return None


def _texts(error: grpc.RpcError) -> str:
    """Everything that an error says: its message and its details."""
    assert isinstance(error, grpc.Call)
    details = error.details() or ""
    try:
        status = rpc_status.from_call(error) or status_pb2.Status()
    except ValueError as unlike:  # the two copies of the message differ
        return f"{details} {unlike}"
    return f"{details} {' '.join(detail.value.decode('latin-1') for detail in status.details)}"
