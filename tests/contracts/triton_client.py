"""Asks a server of ours with NVIDIA's client, and with nothing of ours: for a process of its own.

    python triton_client.py ADDRESS INPUTS.npz OUTPUTS.npz FACTS.json

Its stubs register the same messages as ours, so one process cannot hold both, and it wants an older
protobuf.
"""

import json
import sys
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton


def tensor(name, array, kind):
    given = triton.InferInput(name, array.shape, kind)
    given.set_data_from_numpy(array)
    return given


def status(work):
    try:
        work()
    except triton.InferenceServerException as error:
        return [error.status(), error.message()]
    return ["OK", ""]


def main(address, inputs, outputs, told):
    client = triton.InferenceServerClient(address)
    given = np.load(inputs)
    found = {}
    facts = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "models": [
            client.is_model_ready(name, version)
            for name, version in (("x4", ""), ("x4", "1"), ("x4", "2"), ("none", ""))
        ],
        "server": client.get_server_metadata(as_json=True),
        "upscaler": client.get_model_metadata("x4", as_json=True),
        "scorer": client.get_model_metadata("niqe", as_json=True),
        "index": client.get_model_repository_index(as_json=True),
    }
    for kind, name in (("FP32", "float"), ("UINT8", "bytes")):
        images = tensor("images", given[name], kind)
        result = client.infer("x4", [images], request_id="seven")
        found[f"upscaled_{name}"] = result.as_numpy("images")
        found[f"scores_{name}"] = client.infer("niqe", [images]).as_numpy("scores")
        facts["response"] = [
            result.get_response().model_name,
            result.get_response().model_version,
            result.get_response().id,
        ]
    images = tensor("images", given["float"], "FP32")
    wanted = [triton.InferRequestedOutput(name) for name in ("gradients", "scores")]
    result = client.infer("niqe", [images], outputs=wanted)
    found["gradients"], found["scores"] = result.as_numpy("gradients"), result.as_numpy("scores")
    classes = [triton.InferRequestedOutput("scores", class_count=2)]
    facts["errors"] = {
        "unknown": status(lambda: client.infer("none", [images])),
        "version": status(lambda: client.infer("x4", [images], model_version="9")),
        "input": status(lambda: client.infer("x4", [tensor("x", given["float"], "FP32")])),
        "nan": status(lambda: client.infer("x4", [tensor("images", given["nan"], "FP32")])),
        "type": status(lambda: client.infer("x4", [tensor("images", given["long"], "INT64")])),
        "classes": status(lambda: client.infer("niqe", [images], outputs=classes)),
        "config": status(lambda: client.load_model("x4", config="{}")),
    }
    client.unload_model("x4")
    facts["unloaded"] = client.is_model_ready("x4")
    client.load_model("x4")
    facts["loaded"] = client.is_model_ready("x4")
    np.savez(outputs, **found)
    Path(told).write_text(json.dumps(facts))


if __name__ == "__main__":
    main(*sys.argv[1:])
