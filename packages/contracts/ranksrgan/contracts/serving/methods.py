"""Methods by their full names, and those that a server treats in a way of their own."""

from __future__ import annotations

_MODELS = "/ranksrgan.contracts.v1.ModelService"
_INFERENCE = "/inference.GRPCInferenceService"

#: For those who operate the server, not for everybody who uses it.
ADMINISTRATIVE = frozenset(
    {
        *(f"{_MODELS}/{method}" for method in ("ListModels", "LoadModel")),
        *(f"{_MODELS}/{method}" for method in ("UnloadModel", "ReloadModel")),
        *(f"{_INFERENCE}/Repository{method}" for method in ("Index", "ModelLoad", "ModelUnload")),
    }
)

#: They tell whether a server lives and is ready, and are answered while it is not.
LIVENESS = frozenset(f"{_INFERENCE}/Server{method}" for method in ("Live", "Ready"))

#: They wait for the end of a long job.
WAITING = frozenset({"/google.longrunning.Operations/WaitOperation"})

#: They load models, without a place to work in: with a single place nothing else would be answered
#: meanwhile.
LOADING = frozenset(
    {
        *(f"{_MODELS}/{method}" for method in ("LoadModel", "UnloadModel", "ReloadModel")),
        *(f"{_INFERENCE}/RepositoryModel{method}" for method in ("Load", "Unload")),
    }
)

#: They answer from memory, and need no place to work in. Whether a model is ready, and what it is,
#: may take opening it where that is cheap, as a metric is.
FROM_MEMORY = LIVENESS | {
    f"{_MODELS}/ListModels",
    f"{_INFERENCE}/ServerMetadata",
    f"{_INFERENCE}/RepositoryIndex",
    *(f"{_INFERENCE}/Model{method}" for method in ("Ready", "Metadata")),
}

#: What observers are told of a method that a server does not have: what clients make up is no name
#: of a series that is counted for ever.
UNKNOWN_METHOD = "unknown"

#: Handlers that an interceptor keeps with what it has put around them: a server's methods have the
#: same ones at every call, and to make new ones took a tenth of the time of a call.
HANDLERS = 256


def service_of(method: str) -> str:
    """Full name of the service that a method, ``/SERVICE/METHOD``, belongs to."""
    return method.strip("/").partition("/")[0]
