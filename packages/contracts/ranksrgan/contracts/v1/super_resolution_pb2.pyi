from ranksrgan.contracts.v1 import image_pb2 as _image_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ModelInfo(_message.Message):
    __slots__ = ("name", "version", "scale", "architecture", "parameters_hash", "model_version")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_HASH_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    scale: int
    architecture: str
    parameters_hash: str
    model_version: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., scale: _Optional[int] = ..., architecture: _Optional[str] = ..., parameters_hash: _Optional[str] = ..., model_version: _Optional[str] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, models: _Optional[_Iterable[str]] = ...) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models", "shared_tensors")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    SHARED_TENSORS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ModelInfo]
    shared_tensors: bool
    def __init__(self, models: _Optional[_Iterable[_Union[ModelInfo, _Mapping]]] = ..., shared_tensors: _Optional[bool] = ...) -> None: ...

class UpscaleRequest(_message.Message):
    __slots__ = ("model", "images", "results", "parameters_hash")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_HASH_FIELD_NUMBER: _ClassVar[int]
    model: str
    images: _containers.RepeatedCompositeFieldContainer[_image_pb2.Image]
    results: _containers.RepeatedCompositeFieldContainer[_image_pb2.SharedTensor]
    parameters_hash: str
    def __init__(self, model: _Optional[str] = ..., images: _Optional[_Iterable[_Union[_image_pb2.Image, _Mapping]]] = ..., results: _Optional[_Iterable[_Union[_image_pb2.SharedTensor, _Mapping]]] = ..., parameters_hash: _Optional[str] = ...) -> None: ...

class UpscaleResponse(_message.Message):
    __slots__ = ("images",)
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    images: _containers.RepeatedCompositeFieldContainer[_image_pb2.Image]
    def __init__(self, images: _Optional[_Iterable[_Union[_image_pb2.Image, _Mapping]]] = ...) -> None: ...

class UpscaleStreamRequest(_message.Message):
    __slots__ = ("order", "chunk")
    class Rows(_message.Message):
        __slots__ = ("height", "width", "channels", "dtype")
        HEIGHT_FIELD_NUMBER: _ClassVar[int]
        WIDTH_FIELD_NUMBER: _ClassVar[int]
        CHANNELS_FIELD_NUMBER: _ClassVar[int]
        DTYPE_FIELD_NUMBER: _ClassVar[int]
        height: int
        width: int
        channels: int
        dtype: _image_pb2.DataType
        def __init__(self, height: _Optional[int] = ..., width: _Optional[int] = ..., channels: _Optional[int] = ..., dtype: _Optional[_Union[_image_pb2.DataType, str]] = ...) -> None: ...
    class Order(_message.Message):
        __slots__ = ("model", "size", "suffix", "quality", "out_scale_hundredths", "rows", "result", "parameters_hash")
        MODEL_FIELD_NUMBER: _ClassVar[int]
        SIZE_FIELD_NUMBER: _ClassVar[int]
        SUFFIX_FIELD_NUMBER: _ClassVar[int]
        QUALITY_FIELD_NUMBER: _ClassVar[int]
        OUT_SCALE_HUNDREDTHS_FIELD_NUMBER: _ClassVar[int]
        ROWS_FIELD_NUMBER: _ClassVar[int]
        RESULT_FIELD_NUMBER: _ClassVar[int]
        PARAMETERS_HASH_FIELD_NUMBER: _ClassVar[int]
        model: str
        size: int
        suffix: str
        quality: int
        out_scale_hundredths: int
        rows: UpscaleStreamRequest.Rows
        result: _image_pb2.DataType
        parameters_hash: str
        def __init__(self, model: _Optional[str] = ..., size: _Optional[int] = ..., suffix: _Optional[str] = ..., quality: _Optional[int] = ..., out_scale_hundredths: _Optional[int] = ..., rows: _Optional[_Union[UpscaleStreamRequest.Rows, _Mapping]] = ..., result: _Optional[_Union[_image_pb2.DataType, str]] = ..., parameters_hash: _Optional[str] = ...) -> None: ...
    ORDER_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    order: UpscaleStreamRequest.Order
    chunk: bytes
    def __init__(self, order: _Optional[_Union[UpscaleStreamRequest.Order, _Mapping]] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class UpscaleStreamResponse(_message.Message):
    __slots__ = ("received", "started", "progress", "chunk", "finished")
    class Started(_message.Message):
        __slots__ = ("width", "height")
        WIDTH_FIELD_NUMBER: _ClassVar[int]
        HEIGHT_FIELD_NUMBER: _ClassVar[int]
        width: int
        height: int
        def __init__(self, width: _Optional[int] = ..., height: _Optional[int] = ...) -> None: ...
    class Finished(_message.Message):
        __slots__ = ("size", "width", "height", "sha256")
        SIZE_FIELD_NUMBER: _ClassVar[int]
        WIDTH_FIELD_NUMBER: _ClassVar[int]
        HEIGHT_FIELD_NUMBER: _ClassVar[int]
        SHA256_FIELD_NUMBER: _ClassVar[int]
        size: int
        width: int
        height: int
        sha256: str
        def __init__(self, size: _Optional[int] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., sha256: _Optional[str] = ...) -> None: ...
    RECEIVED_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    received: int
    started: UpscaleStreamResponse.Started
    progress: float
    chunk: bytes
    finished: UpscaleStreamResponse.Finished
    def __init__(self, received: _Optional[int] = ..., started: _Optional[_Union[UpscaleStreamResponse.Started, _Mapping]] = ..., progress: _Optional[float] = ..., chunk: _Optional[bytes] = ..., finished: _Optional[_Union[UpscaleStreamResponse.Finished, _Mapping]] = ...) -> None: ...
