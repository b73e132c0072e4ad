"""``ranksrgan-srgan export-onnx``: a weights file as an ONNX model."""

from __future__ import annotations

import argparse
from pathlib import Path

from ranksrgan.contracts.outputs import check_output


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand; `run` does it."""
    parser = subparsers.add_parser(
        "export-onnx",
        help="write a generator as an ONNX model",
        description=(
            "Write a generator as an ONNX model that takes images of any number and size, and "
            "compare it with torch, if onnxruntime is installed."
        ),
    )
    parser.add_argument("weights", type=Path, metavar="WEIGHTS", help=".safetensors, .pth or .pt")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.onnx")
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """Do what the parsed command line says."""
    from ranksrgan.contracts.checkpoint import load_weights
    from ranksrgan.srgan.generators.architectures import ARCHITECTURES
    from ranksrgan.srgan.network_files import network_of
    from ranksrgan.srgan.shipped import SHIPPED
    from ranksrgan.srgan.upscaling.onnx_export import export_onnx

    check_output("-o", args.output, [args.weights])
    weights = load_weights(SHIPPED.resolve(args.weights))
    network = network_of(weights, ARCHITECTURES)
    difference = export_onnx(network, args.output, weights)
    compared = (
        "not compared, since onnxruntime is not installed"
        if difference is None
        else f"at most {difference:.1e} from torch"
    )
    print(f"{args.output}: {network.architecture} x{network.scale}, {compared}")
    return 0
