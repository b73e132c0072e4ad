from ranksrgan.contracts.v1 import image_pb2 as _image_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FeatureSet(_message.Message):
    __slots__ = ("arrays",)
    class ArraysEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _image_pb2.Tensor
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_image_pb2.Tensor, _Mapping]] = ...) -> None: ...
    ARRAYS_FIELD_NUMBER: _ClassVar[int]
    arrays: _containers.MessageMap[str, _image_pb2.Tensor]
    def __init__(self, arrays: _Optional[_Mapping[str, _image_pb2.Tensor]] = ...) -> None: ...

class ExtractFeaturesRequest(_message.Message):
    __slots__ = ("scorer", "images", "parameters_hash")
    SCORER_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_HASH_FIELD_NUMBER: _ClassVar[int]
    scorer: str
    images: _containers.RepeatedCompositeFieldContainer[_image_pb2.Image]
    parameters_hash: str
    def __init__(self, scorer: _Optional[str] = ..., images: _Optional[_Iterable[_Union[_image_pb2.Image, _Mapping]]] = ..., parameters_hash: _Optional[str] = ...) -> None: ...

class ExtractFeaturesResponse(_message.Message):
    __slots__ = ("features",)
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    features: _containers.RepeatedCompositeFieldContainer[FeatureSet]
    def __init__(self, features: _Optional[_Iterable[_Union[FeatureSet, _Mapping]]] = ...) -> None: ...
