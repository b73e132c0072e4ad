"""What decoders say on standard error: a line for each field of a file that they do not know.

A small file has a thousand of those, and a log of a server that reads such files is soon full.
"""

from __future__ import annotations

import warnings

import cv2


def leave_out() -> None:
    """Have OpenCV and Pillow decode in silence: what is wrong with a file is told by our errors.
    OpenCV's own are no better than its warnings: to libtiff a field of an unknown kind is one.

    What the process has been told otherwise counts: a level of OpenCV other than its own, and
    filters of warnings.
    """
    logging = cv2.utils.logging
    if logging.getLogLevel() == logging.LOG_LEVEL_WARNING:
        logging.setLogLevel(logging.LOG_LEVEL_FATAL)
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.", append=True)
