"""SIGKILL at thirty random moments of each operation: ``python -m benchmarks.kills``.

Exits with 1 if an operation did not end as it would have ended, or a file was half written.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

from tests.attacks.kills import KINDS, VICTIMS, Rounds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30, metavar="N", help="of each operation")
    parser.add_argument("--kind", choices=KINDS, action="append", help="default: all")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    failed = 0
    for kind in arguments.kind or KINDS:
        with tempfile.TemporaryDirectory() as folder:
            chance = random.Random(f"{arguments.seed} {kind}")
            rounds = Rounds(kind, Path(folder))
            try:
                for number in range(arguments.kills):
                    victim = VICTIMS[number % len(VICTIMS)]
                    killed = rounds.kill(f"killed{number}", victim, chance)
                    failed += killed.ended != "same"
                    print(
                        f"{kind:<10}{victim:<8}at {killed.moment:5.2f} of {rounds.duration:5.2f} s"
                        f"{killed.files:>5} files whole   {killed.ended}",
                        flush=True,
                    )
            finally:
                rounds.close()
    print(f"{failed} operations ended otherwise than they would have")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
