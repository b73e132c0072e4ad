"""Methods that a server treats in a way of their own, by their full names."""

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

#: They wait for something, or answer from memory: no place to work in is for them. Models are
#: loaded without one, since with a single place nothing else would be answered meanwhile.
WITHOUT_A_PLACE = ADMINISTRATIVE | {
    "/google.longrunning.Operations/WaitOperation",
    *(f"{_INFERENCE}/Server{method}" for method in ("Live", "Ready", "Metadata")),
    *(f"{_INFERENCE}/Model{method}" for method in ("Ready", "Metadata")),
}
