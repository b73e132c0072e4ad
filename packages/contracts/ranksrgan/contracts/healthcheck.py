"""``python -m ranksrgan.contracts.healthcheck ADDRESS [--wait SECONDS]``: exit code 0 if it serves.

For deploy scripts, containers and probes; any gRPC health client does as well.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ranksrgan.contracts.rpc import check_health, wait_until_healthy


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Ask a service whether it serves.")
    parser.add_argument("address", help="HOST:PORT or unix:PATH")
    parser.add_argument("--wait", type=float, default=0.0, help="seconds to wait until it does")
    arguments = parser.parse_args(argv)
    if arguments.wait > 0:
        return 0 if wait_until_healthy(arguments.address, timeout=arguments.wait) else 1
    return 0 if check_health(arguments.address) else 1


if __name__ == "__main__":
    raise SystemExit(main())
