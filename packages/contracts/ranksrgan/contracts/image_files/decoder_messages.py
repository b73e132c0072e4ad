"""What decoders say on standard error: a line for each field of a file that they do not know.

A small file has a thousand of those, and a log of a server that reads such files is soon full.
"""

from __future__ import annotations

import warnings

import cv2


def keep_to_errors() -> None:
    """Have OpenCV tell errors alone, and Pillow, whose errors are exceptions, nothing.

    What the process has been told otherwise counts: a level of OpenCV other than its own, and
    filters of warnings.
    """
    logging = cv2.utils.logging
    if logging.getLogLevel() == logging.LOG_LEVEL_WARNING:
        logging.setLogLevel(logging.LOG_LEVEL_ERROR)
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.", append=True)
