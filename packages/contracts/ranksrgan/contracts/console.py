"""How every command of the project ends: exit codes, error lines, logging.

0  all done
1  something failed; what could be done was done, and standard error says what was not
2  the command line was wrong
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from ranksrgan.contracts.errors import RankSRGANError


def run(main: Callable[[], int]) -> int:
    """Run a command's body; print an expected error as one line instead of a traceback."""
    logging.basicConfig(
        level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    try:
        return main()
    except RankSRGANError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
