"""The errors of the project, and how each crosses a process boundary.

    RankSRGANError
    ├── InvalidInput (ValueError)            what was sent is wrong; names the field or file
    │   ├── InvalidImage                     not an image, truncated, or of a kind that is not read
    │   │   ├── ImageTooSmall
    │   │   └── UndefinedScore               the metric has no value there (a flat image, say)
    │   ├── InvalidConfig                    unknown key, wrong type, impossible combination
    │   ├── InvalidDataset                   a folder or manifest that contradicts itself
    │   └── InvalidCheckpoint                damaged, unsafe, or of another architecture
    ├── UnknownName (LookupError)            no metric, model or provider of that name
    ├── ModelReplaced                        the name stands for another model than was opened
    ├── NotSupported                         a known thing asked for something it does not do
    ├── MissingAsset (FileNotFoundError)     a file that the user has to supply
    ├── SharedMemoryUnavailable              no segment to be reached; bytes can travel
    ├── LimitExceeded
    │   ├── ImageTooLarge                    more pixels or bytes than this process accepts
    │   ├── Overloaded                       the queue is full; try again
    │   └── DiskFull (OSError)               a file could not be written whole; the old one stays
    ├── Unauthenticated (PermissionError)    a token is missing, or is not one that the server knows
    ├── Forbidden (PermissionError)          the client is known, and may not do that
    ├── ServiceUnavailable (ConnectionError) nobody answers at that address, or it is shutting down
    ├── DeadlineExceeded (TimeoutError)
    ├── RequestCancelled
    ├── TrainingDiverged                     a loss or a weight is no longer a finite number
    ├── AddressInUse (OSError)               never crosses the wire
    └── InternalError                        the server failed; its log holds the rest

``status`` is the name of a gRPC status and ``code`` the ``ErrorInfo.reason`` that travels with it.
Reading back goes by ``code`` first; an answer without one (another implementation, a proxy) falls
back on the status through `BY_STATUS`. There is no gRPC import here, so that code which never
serves anything does not need it.
"""

from __future__ import annotations

from typing import ClassVar


class RankSRGANError(Exception):
    """Root of the tree. ``str(error)`` is meant for the person who made the request.

    Args:
        message: what is wrong and what would be right.
        field: the request field, configuration key or file concerned, if there is one.
    """

    code: ClassVar[str] = "INTERNAL"
    status: ClassVar[str] = "INTERNAL"

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field

    def __str__(self) -> str:
        return self.message


class InvalidInput(RankSRGANError, ValueError):
    code = "INVALID_INPUT"
    status = "INVALID_ARGUMENT"


class InvalidImage(InvalidInput):
    code = "INVALID_IMAGE"


class ImageTooSmall(InvalidImage):
    code = "IMAGE_TOO_SMALL"


class UndefinedScore(InvalidImage):
    code = "UNDEFINED_SCORE"


class InvalidConfig(InvalidInput):
    code = "INVALID_CONFIG"


class InvalidDataset(InvalidInput):
    code = "INVALID_DATASET"


class InvalidCheckpoint(InvalidInput):
    code = "INVALID_CHECKPOINT"


class UnknownName(RankSRGANError, LookupError):
    code = "UNKNOWN_NAME"
    status = "NOT_FOUND"


class ModelReplaced(RankSRGANError):
    code = "MODEL_REPLACED"
    status = "FAILED_PRECONDITION"


class NotSupported(RankSRGANError):
    code = "NOT_SUPPORTED"
    status = "UNIMPLEMENTED"


class MissingAsset(RankSRGANError, FileNotFoundError):
    """A file is not there that somebody has to supply.

    Args:
        message: for everybody: what is missing, for what, and how to get it.
        looked_in: where it was looked for. It is a part of ``str(error)``, for whoever is at that
            machine, and of nothing that crosses the wire.
    """

    code = "MISSING_ASSET"
    status = "FAILED_PRECONDITION"

    def __init__(self, message: str, *, field: str | None = None, looked_in: str = "") -> None:
        super().__init__(message, field=field)
        self.looked_in = looked_in

    def __str__(self) -> str:
        return (
            f"{self.message} (looked for in {self.looked_in})" if self.looked_in else self.message
        )


class SharedMemoryUnavailable(RankSRGANError):
    code = "SHARED_MEMORY_UNAVAILABLE"
    status = "FAILED_PRECONDITION"


class LimitExceeded(RankSRGANError):
    code = "LIMIT_EXCEEDED"
    status = "RESOURCE_EXHAUSTED"


class ImageTooLarge(LimitExceeded):
    code = "IMAGE_TOO_LARGE"


class Overloaded(LimitExceeded):
    """The process has as much to do as it takes on.

    Attributes:
        retry_after: seconds after which there should be room, as far as it can tell; None if it
            does not say. Many wait the same time, so add a random part of it.
    """

    code = "OVERLOADED"

    def __init__(
        self, message: str, *, field: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message, field=field)
        self.retry_after = retry_after


class DiskFull(LimitExceeded, OSError):
    code = "DISK_FULL"


class Unauthenticated(RankSRGANError, PermissionError):
    code = "UNAUTHENTICATED"
    status = "UNAUTHENTICATED"


class Forbidden(RankSRGANError, PermissionError):
    code = "FORBIDDEN"
    status = "PERMISSION_DENIED"


class ServiceUnavailable(RankSRGANError, ConnectionError):
    code = "SERVICE_UNAVAILABLE"
    status = "UNAVAILABLE"


class DeadlineExceeded(RankSRGANError, TimeoutError):
    code = "DEADLINE_EXCEEDED"
    status = "DEADLINE_EXCEEDED"


class RequestCancelled(RankSRGANError):
    code = "REQUEST_CANCELLED"
    status = "CANCELLED"


class TrainingDiverged(RankSRGANError):
    code = "TRAINING_DIVERGED"
    status = "ABORTED"


class AddressInUse(RankSRGANError, OSError):
    code = "ADDRESS_IN_USE"
    status = "FAILED_PRECONDITION"


class InternalError(RankSRGANError):
    code = "INTERNAL"
    status = "INTERNAL"


#: Every class that may travel, by the reason on the wire.
BY_CODE: dict[str, type[RankSRGANError]] = {
    cls.code: cls
    for cls in (
        InvalidInput,
        InvalidImage,
        ImageTooSmall,
        UndefinedScore,
        InvalidConfig,
        InvalidDataset,
        InvalidCheckpoint,
        UnknownName,
        ModelReplaced,
        NotSupported,
        MissingAsset,
        SharedMemoryUnavailable,
        LimitExceeded,
        ImageTooLarge,
        Overloaded,
        DiskFull,
        Unauthenticated,
        Forbidden,
        ServiceUnavailable,
        DeadlineExceeded,
        RequestCancelled,
        TrainingDiverged,
        InternalError,
    )
}

#: What a bare gRPC status means when no reason came with it.
BY_STATUS: dict[str, type[RankSRGANError]] = {
    "INVALID_ARGUMENT": InvalidInput,
    "OUT_OF_RANGE": InvalidInput,
    "NOT_FOUND": UnknownName,
    "UNIMPLEMENTED": NotSupported,
    "FAILED_PRECONDITION": MissingAsset,
    "RESOURCE_EXHAUSTED": LimitExceeded,
    "UNAUTHENTICATED": Unauthenticated,
    "PERMISSION_DENIED": Forbidden,
    "UNAVAILABLE": ServiceUnavailable,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "CANCELLED": RequestCancelled,
}
