import datetime

from google.longrunning import operations_pb2 as _operations_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from ranksrgan.contracts.v1 import job_pb2 as _job_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TrainGeneratorRequest(_message.Message):
    __slots__ = ("generator_id", "config", "request_id")
    GENERATOR_ID_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    generator_id: str
    config: _struct_pb2.Struct
    request_id: str
    def __init__(self, generator_id: _Optional[str] = ..., config: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class TrainGeneratorMetadata(_message.Message):
    __slots__ = ("job", "generator", "step", "steps", "losses", "validation", "time_per_step", "eta")
    class LossesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    JOB_FIELD_NUMBER: _ClassVar[int]
    GENERATOR_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    LOSSES_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_FIELD_NUMBER: _ClassVar[int]
    TIME_PER_STEP_FIELD_NUMBER: _ClassVar[int]
    ETA_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.JobStatus
    generator: str
    step: int
    steps: int
    losses: _containers.ScalarMap[str, float]
    validation: GeneratorValidation
    time_per_step: _duration_pb2.Duration
    eta: _duration_pb2.Duration
    def __init__(self, job: _Optional[_Union[_job_pb2.JobStatus, _Mapping]] = ..., generator: _Optional[str] = ..., step: _Optional[int] = ..., steps: _Optional[int] = ..., losses: _Optional[_Mapping[str, float]] = ..., validation: _Optional[_Union[GeneratorValidation, _Mapping]] = ..., time_per_step: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., eta: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class GeneratorValidation(_message.Message):
    __slots__ = ("step", "scores")
    class ScoresEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    STEP_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    step: int
    scores: _containers.ScalarMap[str, float]
    def __init__(self, step: _Optional[int] = ..., scores: _Optional[_Mapping[str, float]] = ...) -> None: ...

class TrainedGenerator(_message.Message):
    __slots__ = ("name", "architecture", "scale", "step", "parameters_hash", "validation", "best_parameters_hash", "best_validation", "alarms")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_HASH_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_FIELD_NUMBER: _ClassVar[int]
    BEST_PARAMETERS_HASH_FIELD_NUMBER: _ClassVar[int]
    BEST_VALIDATION_FIELD_NUMBER: _ClassVar[int]
    ALARMS_FIELD_NUMBER: _ClassVar[int]
    name: str
    architecture: str
    scale: int
    step: int
    parameters_hash: str
    validation: GeneratorValidation
    best_parameters_hash: str
    best_validation: GeneratorValidation
    alarms: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., architecture: _Optional[str] = ..., scale: _Optional[int] = ..., step: _Optional[int] = ..., parameters_hash: _Optional[str] = ..., validation: _Optional[_Union[GeneratorValidation, _Mapping]] = ..., best_parameters_hash: _Optional[str] = ..., best_validation: _Optional[_Union[GeneratorValidation, _Mapping]] = ..., alarms: _Optional[_Iterable[str]] = ...) -> None: ...
