"""Variables of the environment that are nearly those of settings.

One that is passed over could leave a server open: ``RANKSRGAN_TLS_CLIENT_CA``, with one underscore
too few, sets nothing.
"""

from __future__ import annotations

import re
from difflib import SequenceMatcher

from ranksrgan.contracts.config import Config
from ranksrgan.contracts.config_problems import keys_of
from ranksrgan.contracts.errors import InvalidConfig

#: Of every variable.
PREFIX = "RANKSRGAN_"

#: Those that are no settings: of clients, of files and operators, of jobs, scripts and tests.
OTHERS = (
    "RANKSRGAN_CLIENT_CA",
    "RANKSRGAN_CLIENT_CERTIFICATE",
    "RANKSRGAN_CLIENT_KEY",
    "RANKSRGAN_CLIENT_SERVER_NAME",
    "RANKSRGAN_CLIENT_TOKEN",
    "RANKSRGAN_CLIENT_TOKEN_FILE",
    "RANKSRGAN_CLIENT_TOKEN_IN_CLEAR",
    "RANKSRGAN_ASSETS",
    "RANKSRGAN_NATIVE",
    "RANKSRGAN_JOB_LOCK",
    "RANKSRGAN_STATE",
    "RANKSRGAN_TEST_DATA",
    "RANKSRGAN_TRITON_PYTHON",
)

# What Kubernetes tells each pod of a Service whose name begins like ours.
_SERVICE_LINK = re.compile(
    r".*_SERVICE_HOST|.*_SERVICE_PORT(_.*)?|.*_PORT_\d+_(TCP|UDP|SCTP)(_.*)?"
)
_LINKED_ADDRESS = re.compile(r"(tcp|udp|sctp)://.*")
# How much a variable has to be like another one to be taken for it, and to be named as a further
# one that may be meant.
_LIKE, _ALSO_LIKE = 0.8, 0.7


def variable(key: str) -> str:
    """The variable of a dotted key."""
    return PREFIX + key.replace(".", "__").upper()


def require_unlike_settings(kind: type[Config], name: str, text: str) -> None:
    """Find out whether a variable that is no setting is meant to be one.

    Args:
        kind: the settings.
        name: of the variable, which begins with `PREFIX` in whatever case.
        text: what it holds.

    Raises:
        InvalidConfig: it differs from a setting's, or from one of `OTHERS`, in case or underscores,
            begins with a setting's, or is like one; says which.
    """
    if name in OTHERS or _SERVICE_LINK.fullmatch(name) or _LINKED_ADDRESS.fullmatch(text):
        return
    known = [*(variable(key) for key in keys_of(kind)), *OTHERS]
    found = _plain(name)
    begun = [key for key in kind.model_fields if found.startswith(f"{key}_")]
    below = [one for one in known if any(_is_below(one, variable(key)) for key in begun)]
    if found.startswith("client_"):
        below += [one for one in OTHERS if _plain(one).startswith("client_")]
    likeness = {one: SequenceMatcher(None, _plain(one), found).ratio() for one in below or known}
    ranked = sorted(
        likeness, key=lambda one: (_plain(one).startswith(found), likeness[one]), reverse=True
    )
    if not below and likeness[ranked[0]] < _LIKE:
        return
    meant = [ranked[0]]
    if not below and likeness[ranked[0]] < 1:
        meant += [one for one in ranked[1:2] if likeness[one] >= _ALSO_LIKE]
    raise InvalidConfig(f"{name}: unknown setting; did you mean {' or '.join(meant)}?", field=name)


def _is_below(name: str, section: str) -> bool:
    return name == section or name.startswith(f"{section}__")


def _plain(name: str) -> str:
    return name.upper().removeprefix(PREFIX).replace("__", "_").lower()
