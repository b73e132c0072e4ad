"""10,000 malformed requests to each service of each server: ``python -m benchmarks.fuzz``.

Exits with 1 if an answer was not a documented one or told of internals, if a server died, or if its
memory did not come back to where it was.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.attacks.fuzzing import Attack
from tests.attacks.targets import NAMES, Target, fill_root, serving

#: Requests of each service before memory is looked at for the first time.
WARM_UP = 1000
GROWTH_MIB = 30.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000, metavar="N", help="to each service")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        root.mkdir()
        fill_root(root)
        with serving(root) as targets:
            for name in NAMES:
                failed |= _attack(targets[name], str(root), arguments.requests, arguments.seed)
    return int(failed)


def _attack(target: Target, root: str, count: int, seed: int) -> bool:
    """Attack one server; whether it failed."""
    pid, attack, problems = target.pid, Attack(target, (root,)), 0
    try:
        attack.warm_up()
        for service in attack.services():
            attack.run(service, WARM_UP, seed + 1)
        before = target.memory_mib()
        for service in attack.services():
            began, codes = time.monotonic(), Counter[str]()
            findings = attack.run(service, count, seed)
            codes.update(findings.codes)
            problems += len(findings.problems)
            counts = ", ".join(f"{code} {number}" for code, number in codes.most_common())
            print(f"{target.name:<10}{service:<48}{time.monotonic() - began:>7.0f} s  {counts}")
            for problem in findings.problems[:10]:
                print(f"    {problem}", file=sys.stderr)
    finally:
        attack.close()
    growth = target.memory_mib() - before
    well = target.pid == pid and target.is_well()
    print(
        f"{target.name:<10}{problems} wrong answers, memory {growth:+.1f} MiB from {before:.0f}, "
        f"{'well' if well else 'DEAD'}"
    )
    return bool(problems) or growth >= GROWTH_MIB or not well


if __name__ == "__main__":
    sys.exit(main())
