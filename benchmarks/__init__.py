"""``python -m benchmarks.NAME`` finds what ``python benchmarks/NAME.py`` has beside it."""

import sys

sys.path += __path__
