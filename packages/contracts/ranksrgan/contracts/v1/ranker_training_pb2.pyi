import datetime

from google.longrunning import operations_pb2 as _operations_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from ranksrgan.contracts.v1 import job_pb2 as _job_pb2
from ranksrgan.contracts.v1 import rank_data_pb2 as _rank_data_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TrainRankerRequest(_message.Message):
    __slots__ = ("ranker_id", "dataset", "split", "validation_split", "validation_dataset", "ties", "min_gap", "config", "request_id")
    RANKER_ID_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_SPLIT_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_DATASET_FIELD_NUMBER: _ClassVar[int]
    TIES_FIELD_NUMBER: _ClassVar[int]
    MIN_GAP_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ranker_id: str
    dataset: str
    split: str
    validation_split: str
    validation_dataset: str
    ties: _rank_data_pb2.TiePolicy
    min_gap: float
    config: _struct_pb2.Struct
    request_id: str
    def __init__(self, ranker_id: _Optional[str] = ..., dataset: _Optional[str] = ..., split: _Optional[str] = ..., validation_split: _Optional[str] = ..., validation_dataset: _Optional[str] = ..., ties: _Optional[_Union[_rank_data_pb2.TiePolicy, str]] = ..., min_gap: _Optional[float] = ..., config: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class TrainRankerMetadata(_message.Message):
    __slots__ = ("job", "ranker", "step", "steps", "loss", "best", "eta")
    JOB_FIELD_NUMBER: _ClassVar[int]
    RANKER_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    BEST_FIELD_NUMBER: _ClassVar[int]
    ETA_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.JobStatus
    ranker: str
    step: int
    steps: int
    loss: float
    best: RankerValidation
    eta: _duration_pb2.Duration
    def __init__(self, job: _Optional[_Union[_job_pb2.JobStatus, _Mapping]] = ..., ranker: _Optional[str] = ..., step: _Optional[int] = ..., steps: _Optional[int] = ..., loss: _Optional[float] = ..., best: _Optional[_Union[RankerValidation, _Mapping]] = ..., eta: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class RankerValidation(_message.Message):
    __slots__ = ("step", "srocc", "srocc_per_content", "pair_accuracy")
    STEP_FIELD_NUMBER: _ClassVar[int]
    SROCC_FIELD_NUMBER: _ClassVar[int]
    SROCC_PER_CONTENT_FIELD_NUMBER: _ClassVar[int]
    PAIR_ACCURACY_FIELD_NUMBER: _ClassVar[int]
    step: int
    srocc: float
    srocc_per_content: float
    pair_accuracy: float
    def __init__(self, step: _Optional[int] = ..., srocc: _Optional[float] = ..., srocc_per_content: _Optional[float] = ..., pair_accuracy: _Optional[float] = ...) -> None: ...

class TrainedRanker(_message.Message):
    __slots__ = ("name", "metric", "higher_is_better", "step", "best_step", "validation", "parameters_hash")
    NAME_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    HIGHER_IS_BETTER_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    BEST_STEP_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_HASH_FIELD_NUMBER: _ClassVar[int]
    name: str
    metric: str
    higher_is_better: bool
    step: int
    best_step: int
    validation: RankerValidation
    parameters_hash: str
    def __init__(self, name: _Optional[str] = ..., metric: _Optional[str] = ..., higher_is_better: _Optional[bool] = ..., step: _Optional[int] = ..., best_step: _Optional[int] = ..., validation: _Optional[_Union[RankerValidation, _Mapping]] = ..., parameters_hash: _Optional[str] = ...) -> None: ...
