"""Variables of the environment that are nearly those of settings.

One that is passed over could leave a server open: ``RANKSRGAN_TLS_CLIENT_CA``, with one underscore
too few, sets nothing. Operators have variables of their own too (``RANKSRGAN_METRICS_PORT``), so
only what secures or limits is looked after so closely.
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
# First parts of the keys that secure or limit a server.
_GUARDS = ("tls", "tokens", "tokens_in_clear", "administrators", "client_limits")
# What several of those, and of a client's, begin with; what follows is compared by itself.
_SECTIONS = ("client_limits_", "client_", "tls_")
# How much a variable has to be like another one to be taken for it, and to be named as a further
# one that may be meant.
_LIKE, _ALSO_LIKE = 0.8, 0.7
# Letters that tell which word is cut short.
_SHORT = 3


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
        InvalidConfig: it differs from a setting's in case or underscores alone, or is like one that
            secures or limits a server, or a client's of `OTHERS`; says which.
    """
    if name in OTHERS or _SERVICE_LINK.fullmatch(name) or _LINKED_ADDRESS.fullmatch(text):
        return
    found = _plain(name)
    keys = [key for key in keys_of(kind) if key != "tls"]  # certificates are below it
    guards = [key for key in keys if key.partition(".")[0] in _GUARDS]
    client = [one for one in OTHERS if _plain(one).startswith("client_")]
    near = [variable(key) for key in keys if _bare(variable(key)) == _bare(name)]
    near += [variable(key) for key in guards if _bare(key.rpartition(".")[2]) == _bare(name)]
    near += [one for one in (*map(variable, guards), *client) if _is_near(_plain(one), found)]
    if not near:
        return
    likeness = {one: _likeness(_plain(one), found) for one in near}
    meant, *rest = sorted(likeness, key=lambda one: likeness[one], reverse=True)
    if likeness[meant] < 1:
        meant = " or ".join([meant, *(one for one in rest[:1] if likeness[one] >= _ALSO_LIKE)])
    raise InvalidConfig(f"{name}: unknown setting; did you mean {meant}?", field=name)


def _is_near(known: str, found: str) -> bool:
    """Whether one is the other with words more or fewer, or is much like it."""
    if f"{found}_" in _SECTIONS:
        return False
    for section in _SECTIONS:
        if known.startswith(section) and found.startswith(section):
            known, found = known.removeprefix(section), found.removeprefix(section)
            if section != "client_" and f"_{known}".endswith(f"_{found}"):
                return True
            break
    cut_short = len(found) >= _SHORT and known.startswith(found)
    return cut_short or f"{found}_".startswith(f"{known}_") or _likeness(known, found) >= _LIKE


def _likeness(known: str, found: str) -> float:
    return SequenceMatcher(None, known, found).ratio()


def _plain(name: str) -> str:
    return name.upper().removeprefix(PREFIX).replace("__", "_").lower()


def _bare(name: str) -> str:
    return _plain(name).replace("_", "")
