"""The ``ranksrgan`` command: the stages in one process, the demo, the doctor."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ranksrgan.contracts import console


def main(argv: Sequence[str] | None = None) -> int:
    """``ranksrgan``; see ``--help``."""
    parser = argparse.ArgumentParser(prog="ranksrgan", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    demo = commands.add_parser("demo", help="the whole of it on photographs, in minutes")
    demo.add_argument("-o", "--output", type=Path, default=Path("demo"), help="folder of the run")
    demo.add_argument("--seed", type=int, default=0)
    demo.add_argument(
        "--deploy", type=Path, help="deploy/local.sh; without it the services are left out"
    )
    demo.add_argument("settings", nargs="*", help="key=value, on top of demo.yaml")
    demo.set_defaults(run=_demo)

    run = commands.add_parser("run", help="the stages of a pipeline file, in one process")
    run.add_argument("pipeline", type=Path, help="a YAML file; see the package's README")
    run.add_argument("settings", nargs="*", help="key=value, on top of the file")
    run.set_defaults(run=_run)

    doctor = commands.add_parser("doctor", help="what is installed, in use and missing")
    doctor.set_defaults(run=_doctor)

    arguments = parser.parse_args(argv)
    return console.run(lambda: arguments.run(arguments))


def _demo(arguments: argparse.Namespace) -> int:
    from ranksrgan.pipeline.demo import demo_config, run_demo

    config = demo_config(arguments.output, arguments.seed, tuple(arguments.settings))
    run_demo(config, arguments.deploy, print)
    return 0


def _run(arguments: argparse.Namespace) -> int:
    from ranksrgan.contracts.config import load_config
    from ranksrgan.pipeline.config import PipelineConfig
    from ranksrgan.pipeline.demo import summarise
    from ranksrgan.pipeline.stages import run

    outcome = run(load_config(PipelineConfig, arguments.pipeline, arguments.settings))
    for line in summarise(outcome):
        print(line)
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from ranksrgan.pipeline.doctor import examine

    findings = examine()
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        mark = " " if finding.good else "!"
        print(f"{mark} {finding.subject:<{width}}  {finding.state}")
    return 0 if all(finding.good for finding in findings) else 1


if __name__ == "__main__":
    raise SystemExit(main())
