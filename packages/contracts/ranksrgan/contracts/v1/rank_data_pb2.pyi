import datetime

from google.longrunning import operations_pb2 as _operations_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from ranksrgan.contracts.v1 import image_pb2 as _image_pb2
from ranksrgan.contracts.v1 import job_pb2 as _job_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TiePolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TIE_POLICY_UNSPECIFIED: _ClassVar[TiePolicy]
    TIE_POLICY_DROP: _ClassVar[TiePolicy]
    TIE_POLICY_KEEP: _ClassVar[TiePolicy]
TIE_POLICY_UNSPECIFIED: TiePolicy
TIE_POLICY_DROP: TiePolicy
TIE_POLICY_KEEP: TiePolicy

class RankDataset(_message.Message):
    __slots__ = ("name", "metric", "higher_is_better", "levels", "sources", "contents", "dropped", "crop", "further_metrics", "create_time")
    class SourcesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class ContentsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class DroppedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class FurtherMetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bool
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bool] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    HIGHER_IS_BETTER_FIELD_NUMBER: _ClassVar[int]
    LEVELS_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    CONTENTS_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    CROP_FIELD_NUMBER: _ClassVar[int]
    FURTHER_METRICS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    metric: str
    higher_is_better: bool
    levels: _containers.RepeatedScalarFieldContainer[str]
    sources: _containers.ScalarMap[str, int]
    contents: _containers.ScalarMap[str, int]
    dropped: _containers.ScalarMap[str, int]
    crop: int
    further_metrics: _containers.ScalarMap[str, bool]
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., metric: _Optional[str] = ..., higher_is_better: _Optional[bool] = ..., levels: _Optional[_Iterable[str]] = ..., sources: _Optional[_Mapping[str, int]] = ..., contents: _Optional[_Mapping[str, int]] = ..., dropped: _Optional[_Mapping[str, int]] = ..., crop: _Optional[int] = ..., further_metrics: _Optional[_Mapping[str, bool]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class BuildRankDatasetRequest(_message.Message):
    __slots__ = ("dataset_id", "config", "request_id")
    DATASET_ID_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    dataset_id: str
    config: _struct_pb2.Struct
    request_id: str
    def __init__(self, dataset_id: _Optional[str] = ..., config: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class BuildRankDatasetMetadata(_message.Message):
    __slots__ = ("job", "dataset", "steps_done", "steps_total", "source", "eta")
    JOB_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    STEPS_DONE_FIELD_NUMBER: _ClassVar[int]
    STEPS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    ETA_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.JobStatus
    dataset: str
    steps_done: int
    steps_total: int
    source: str
    eta: _duration_pb2.Duration
    def __init__(self, job: _Optional[_Union[_job_pb2.JobStatus, _Mapping]] = ..., dataset: _Optional[str] = ..., steps_done: _Optional[int] = ..., steps_total: _Optional[int] = ..., source: _Optional[str] = ..., eta: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class GetRankDatasetRequest(_message.Message):
    __slots__ = ("dataset",)
    DATASET_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    def __init__(self, dataset: _Optional[str] = ...) -> None: ...

class GetRankDatasetResponse(_message.Message):
    __slots__ = ("dataset",)
    DATASET_FIELD_NUMBER: _ClassVar[int]
    dataset: RankDataset
    def __init__(self, dataset: _Optional[_Union[RankDataset, _Mapping]] = ...) -> None: ...

class ListRankDatasetsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListRankDatasetsResponse(_message.Message):
    __slots__ = ("datasets", "next_page_token")
    DATASETS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    datasets: _containers.RepeatedCompositeFieldContainer[RankDataset]
    next_page_token: str
    def __init__(self, datasets: _Optional[_Iterable[_Union[RankDataset, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DescribePairsRequest(_message.Message):
    __slots__ = ("dataset", "split", "ties", "min_gap")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    TIES_FIELD_NUMBER: _ClassVar[int]
    MIN_GAP_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    split: str
    ties: TiePolicy
    min_gap: float
    def __init__(self, dataset: _Optional[str] = ..., split: _Optional[str] = ..., ties: _Optional[_Union[TiePolicy, str]] = ..., min_gap: _Optional[float] = ...) -> None: ...

class DescribePairsResponse(_message.Message):
    __slots__ = ("metric", "higher_is_better", "levels", "contents", "pairs", "fingerprint", "further_metrics", "one_size", "infinite_metrics")
    class FurtherMetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bool
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bool] = ...) -> None: ...
    class InfiniteMetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    METRIC_FIELD_NUMBER: _ClassVar[int]
    HIGHER_IS_BETTER_FIELD_NUMBER: _ClassVar[int]
    LEVELS_FIELD_NUMBER: _ClassVar[int]
    CONTENTS_FIELD_NUMBER: _ClassVar[int]
    PAIRS_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    FURTHER_METRICS_FIELD_NUMBER: _ClassVar[int]
    ONE_SIZE_FIELD_NUMBER: _ClassVar[int]
    INFINITE_METRICS_FIELD_NUMBER: _ClassVar[int]
    metric: str
    higher_is_better: bool
    levels: _containers.RepeatedScalarFieldContainer[str]
    contents: int
    pairs: int
    fingerprint: str
    further_metrics: _containers.ScalarMap[str, bool]
    one_size: bool
    infinite_metrics: _containers.ScalarMap[str, str]
    def __init__(self, metric: _Optional[str] = ..., higher_is_better: _Optional[bool] = ..., levels: _Optional[_Iterable[str]] = ..., contents: _Optional[int] = ..., pairs: _Optional[int] = ..., fingerprint: _Optional[str] = ..., further_metrics: _Optional[_Mapping[str, bool]] = ..., one_size: _Optional[bool] = ..., infinite_metrics: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Pair(_message.Message):
    __slots__ = ("a", "b", "label")
    A_FIELD_NUMBER: _ClassVar[int]
    B_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    a: _image_pb2.Image
    b: _image_pb2.Image
    label: float
    def __init__(self, a: _Optional[_Union[_image_pb2.Image, _Mapping]] = ..., b: _Optional[_Union[_image_pb2.Image, _Mapping]] = ..., label: _Optional[float] = ...) -> None: ...

class StreamPairsRequest(_message.Message):
    __slots__ = ("dataset", "split", "ties", "min_gap", "seed", "cursor", "step", "fingerprint")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    TIES_FIELD_NUMBER: _ClassVar[int]
    MIN_GAP_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    split: str
    ties: TiePolicy
    min_gap: float
    seed: int
    cursor: int
    step: int
    fingerprint: str
    def __init__(self, dataset: _Optional[str] = ..., split: _Optional[str] = ..., ties: _Optional[_Union[TiePolicy, str]] = ..., min_gap: _Optional[float] = ..., seed: _Optional[int] = ..., cursor: _Optional[int] = ..., step: _Optional[int] = ..., fingerprint: _Optional[str] = ...) -> None: ...

class StreamPairsResponse(_message.Message):
    __slots__ = ("cursor", "pair")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    PAIR_FIELD_NUMBER: _ClassVar[int]
    cursor: int
    pair: Pair
    def __init__(self, cursor: _Optional[int] = ..., pair: _Optional[_Union[Pair, _Mapping]] = ...) -> None: ...

class StreamContentsRequest(_message.Message):
    __slots__ = ("dataset", "split", "shuffled", "seed", "cursor", "step", "ties", "min_gap", "fingerprint")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    SHUFFLED_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    TIES_FIELD_NUMBER: _ClassVar[int]
    MIN_GAP_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    split: str
    shuffled: bool
    seed: int
    cursor: int
    step: int
    ties: TiePolicy
    min_gap: float
    fingerprint: str
    def __init__(self, dataset: _Optional[str] = ..., split: _Optional[str] = ..., shuffled: _Optional[bool] = ..., seed: _Optional[int] = ..., cursor: _Optional[int] = ..., step: _Optional[int] = ..., ties: _Optional[_Union[TiePolicy, str]] = ..., min_gap: _Optional[float] = ..., fingerprint: _Optional[str] = ...) -> None: ...

class StreamContentsResponse(_message.Message):
    __slots__ = ("cursor", "content", "levels", "images", "scores", "further_scores", "reference")
    class FurtherScoresEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Scores
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Scores, _Mapping]] = ...) -> None: ...
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    LEVELS_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    FURTHER_SCORES_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    cursor: int
    content: str
    levels: _containers.RepeatedScalarFieldContainer[str]
    images: _containers.RepeatedCompositeFieldContainer[_image_pb2.Image]
    scores: _containers.RepeatedScalarFieldContainer[float]
    further_scores: _containers.MessageMap[str, Scores]
    reference: _image_pb2.Image
    def __init__(self, cursor: _Optional[int] = ..., content: _Optional[str] = ..., levels: _Optional[_Iterable[str]] = ..., images: _Optional[_Iterable[_Union[_image_pb2.Image, _Mapping]]] = ..., scores: _Optional[_Iterable[float]] = ..., further_scores: _Optional[_Mapping[str, Scores]] = ..., reference: _Optional[_Union[_image_pb2.Image, _Mapping]] = ...) -> None: ...

class Scores(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, values: _Optional[_Iterable[float]] = ...) -> None: ...
