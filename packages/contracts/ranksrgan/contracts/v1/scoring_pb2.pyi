from ranksrgan.contracts.v1 import error_pb2 as _error_pb2
from ranksrgan.contracts.v1 import image_pb2 as _image_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ScorerInfo(_message.Message):
    __slots__ = ("name", "version", "higher_is_better", "needs_reference", "differentiable", "min_side", "parameters_hash", "lowest", "highest", "model_version")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    HIGHER_IS_BETTER_FIELD_NUMBER: _ClassVar[int]
    NEEDS_REFERENCE_FIELD_NUMBER: _ClassVar[int]
    DIFFERENTIABLE_FIELD_NUMBER: _ClassVar[int]
    MIN_SIDE_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_HASH_FIELD_NUMBER: _ClassVar[int]
    LOWEST_FIELD_NUMBER: _ClassVar[int]
    HIGHEST_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    higher_is_better: bool
    needs_reference: bool
    differentiable: bool
    min_side: int
    parameters_hash: str
    lowest: float
    highest: float
    model_version: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., higher_is_better: _Optional[bool] = ..., needs_reference: _Optional[bool] = ..., differentiable: _Optional[bool] = ..., min_side: _Optional[int] = ..., parameters_hash: _Optional[str] = ..., lowest: _Optional[float] = ..., highest: _Optional[float] = ..., model_version: _Optional[str] = ...) -> None: ...

class ListScorersRequest(_message.Message):
    __slots__ = ("scorers",)
    SCORERS_FIELD_NUMBER: _ClassVar[int]
    scorers: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, scorers: _Optional[_Iterable[str]] = ...) -> None: ...

class ListScorersResponse(_message.Message):
    __slots__ = ("scorers", "shared_tensors", "max_message_bytes")
    SCORERS_FIELD_NUMBER: _ClassVar[int]
    SHARED_TENSORS_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    scorers: _containers.RepeatedCompositeFieldContainer[ScorerInfo]
    shared_tensors: bool
    max_message_bytes: int
    def __init__(self, scorers: _Optional[_Iterable[_Union[ScorerInfo, _Mapping]]] = ..., shared_tensors: _Optional[bool] = ..., max_message_bytes: _Optional[int] = ...) -> None: ...

class ScoreRequest(_message.Message):
    __slots__ = ("scorer", "images", "references", "parameters_hash")
    SCORER_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    REFERENCES_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_HASH_FIELD_NUMBER: _ClassVar[int]
    scorer: str
    images: _containers.RepeatedCompositeFieldContainer[_image_pb2.Image]
    references: _containers.RepeatedCompositeFieldContainer[_image_pb2.Image]
    parameters_hash: str
    def __init__(self, scorer: _Optional[str] = ..., images: _Optional[_Iterable[_Union[_image_pb2.Image, _Mapping]]] = ..., references: _Optional[_Iterable[_Union[_image_pb2.Image, _Mapping]]] = ..., parameters_hash: _Optional[str] = ...) -> None: ...

class ScoreResponse(_message.Message):
    __slots__ = ("scores",)
    SCORES_FIELD_NUMBER: _ClassVar[int]
    scores: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, scores: _Optional[_Iterable[float]] = ...) -> None: ...

class ScoreStreamRequest(_message.Message):
    __slots__ = ("id", "scorer", "image", "reference", "image_ahead", "reference_ahead", "chunk", "parameters_hash")
    ID_FIELD_NUMBER: _ClassVar[int]
    SCORER_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    IMAGE_AHEAD_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_AHEAD_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_HASH_FIELD_NUMBER: _ClassVar[int]
    id: str
    scorer: str
    image: _image_pb2.Image
    reference: _image_pb2.Image
    image_ahead: _image_pb2.ImageAhead
    reference_ahead: _image_pb2.ImageAhead
    chunk: bytes
    parameters_hash: str
    def __init__(self, id: _Optional[str] = ..., scorer: _Optional[str] = ..., image: _Optional[_Union[_image_pb2.Image, _Mapping]] = ..., reference: _Optional[_Union[_image_pb2.Image, _Mapping]] = ..., image_ahead: _Optional[_Union[_image_pb2.ImageAhead, _Mapping]] = ..., reference_ahead: _Optional[_Union[_image_pb2.ImageAhead, _Mapping]] = ..., chunk: _Optional[bytes] = ..., parameters_hash: _Optional[str] = ...) -> None: ...

class ScoreStreamResponse(_message.Message):
    __slots__ = ("id", "score", "error")
    ID_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    id: str
    score: float
    error: _error_pb2.Error
    def __init__(self, id: _Optional[str] = ..., score: _Optional[float] = ..., error: _Optional[_Union[_error_pb2.Error, _Mapping]] = ...) -> None: ...

class ScoreGradientRequest(_message.Message):
    __slots__ = ("scorer", "images", "references", "gradients", "parameters_hash")
    SCORER_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    REFERENCES_FIELD_NUMBER: _ClassVar[int]
    GRADIENTS_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_HASH_FIELD_NUMBER: _ClassVar[int]
    scorer: str
    images: _containers.RepeatedCompositeFieldContainer[_image_pb2.Image]
    references: _containers.RepeatedCompositeFieldContainer[_image_pb2.Image]
    gradients: _containers.RepeatedCompositeFieldContainer[_image_pb2.SharedTensor]
    parameters_hash: str
    def __init__(self, scorer: _Optional[str] = ..., images: _Optional[_Iterable[_Union[_image_pb2.Image, _Mapping]]] = ..., references: _Optional[_Iterable[_Union[_image_pb2.Image, _Mapping]]] = ..., gradients: _Optional[_Iterable[_Union[_image_pb2.SharedTensor, _Mapping]]] = ..., parameters_hash: _Optional[str] = ...) -> None: ...

class ScoreGradientResponse(_message.Message):
    __slots__ = ("scores", "gradients")
    SCORES_FIELD_NUMBER: _ClassVar[int]
    GRADIENTS_FIELD_NUMBER: _ClassVar[int]
    scores: _containers.RepeatedScalarFieldContainer[float]
    gradients: _containers.RepeatedCompositeFieldContainer[_image_pb2.Tensor]
    def __init__(self, scores: _Optional[_Iterable[float]] = ..., gradients: _Optional[_Iterable[_Union[_image_pb2.Tensor, _Mapping]]] = ...) -> None: ...
