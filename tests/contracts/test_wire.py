"""The wire may grow; what old clients know must stay what it was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor

from ranksrgan.contracts.v1 import (
    error_pb2,
    features_pb2,
    generator_training_pb2,
    image_pb2,
    job_pb2,
    model_pb2,
    rank_data_pb2,
    ranker_training_pb2,
    scoring_pb2,
    super_resolution_pb2,
)
from ranksrgan.contracts.v1.inference import open_inference_pb2

GOLDEN = Path(__file__).with_name("wire.txt")
TYPES = {
    value: name.removeprefix("TYPE_").lower()
    for name, value in vars(FieldDescriptor).items()
    if name.startswith("TYPE_")
}


def with_nested(messages: Iterable[Descriptor]) -> Iterator[Descriptor]:
    for message in messages:
        yield message
        yield from with_nested(message.nested_types)


def facts(file: FileDescriptor) -> list[str]:
    lines = []
    for message in with_nested(file.message_types_by_name.values()):
        for field in message.fields:
            many = "repeated " if field.is_repeated else ""
            kind = field.message_type or field.enum_type
            named = kind.full_name if kind else TYPES[field.type]
            lines.append(f"{message.full_name}.{field.name} = {field.number}: {many}{named}")
    for enum in file.enum_types_by_name.values():
        lines += [f"{enum.full_name}.{value.name} = {value.number}" for value in enum.values]
    for service in file.services_by_name.values():
        for method in service.methods:
            taken, given = (
                f"{'stream ' if streamed else ''}{kind.full_name}"
                for kind, streamed in (
                    (method.input_type, method.client_streaming),
                    (method.output_type, method.server_streaming),
                )
            )
            lines.append(f"{method.full_name}({taken}) -> {given}")
    return lines


def today() -> list[str]:
    modules = (
        error_pb2,
        features_pb2,
        generator_training_pb2,
        image_pb2,
        job_pb2,
        model_pb2,
        open_inference_pb2,
        rank_data_pb2,
        ranker_training_pb2,
        scoring_pb2,
        super_resolution_pb2,
    )
    return sorted(line for module in modules for line in facts(module.DESCRIPTOR))


def test_nothing_that_was_promised_has_changed() -> None:
    promised = GOLDEN.read_text().splitlines()
    assert promised
    assert [line for line in promised if line not in today()] == []
