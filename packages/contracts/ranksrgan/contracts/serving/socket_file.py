"""The file of a unix socket that a server listens on: what is replaced by it, and who removes it.

gRPC removes, when a server ends, whatever socket is at the path that it was told, that of another
server too. So it is told another name in the folder, under which its socket is until it can be
connected to; then that gets the name that clients know, unless another server has been faster.
"""

from __future__ import annotations

import os
import secrets
import socket
import stat
from pathlib import Path

from ranksrgan.contracts.errors import AddressInUse, InvalidInput
from ranksrgan.contracts.folder_lock import locked

# Seconds that other servers may take to publish theirs in the same folder.
_PUBLISH_WAIT = 5.0


class SocketFile:
    """The file of the socket at an address.

    Args:
        address: ``unix:PATH``.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._path = Path(address.removeprefix("unix:"))
        self._first = self._path.with_name(f".{secrets.token_hex(3)}")  # a path has 107 bytes
        self._ours: tuple[int, int] | None = None

    @property
    def first_address(self) -> str:
        """Where the server is to listen before `publish`."""
        return f"unix:{self._first}"

    def require_no_other(self) -> None:
        """Find out whether something is there that is no socket, and would be lost.

        Raises:
            InvalidInput: there is, a symbolic link being something else too.
        """
        try:
            mode = os.lstat(self._path).st_mode
        except OSError:  # told by `require_free`, if it is more than that there is none
            return
        if not stat.S_ISSOCK(mode):
            raise self._refused("there is something that is no socket; name another path")

    def require_free(self) -> None:
        """Find out whether a server can listen there; what a dead one has left may be replaced.

        Raises:
            AddressInUse: somebody listens there already.
            InvalidInput: nobody can listen there; says why.
        """
        self.require_no_other()
        if not self._path.parent.is_dir():
            raise self._refused(f"{self._path.parent} is not a folder to put a socket in")
        self._require_silent()
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.bind(str(self._first))
                self._first.unlink()
            except OSError as error:
                raise self._refused(error) from error

    def publish(self) -> None:
        """Let the socket at `first_address` be at the address, for this user alone.

        Raises:
            AddressInUse: since `require_free` another server has begun to listen there.
            InvalidInput: what a dead server has left there cannot be replaced.
        """
        folder = self._path.parent
        busy = f"cannot listen on {self._address}: another process holds {folder}"
        try:
            with locked(folder, busy, wait=_PUBLISH_WAIT):
                self._require_silent()
                self._first.chmod(stat.S_IRUSR | stat.S_IWUSR)
                self._ours = _identity(self._first)
                self._first.rename(self._path)
        except AddressInUse:  # an OSError too
            raise
        except OSError as error:
            raise self._refused(error) from error

    def remove(self) -> None:
        """Remove what was published, unless something else is there by now, or was to be."""
        self._first.unlink(missing_ok=True)
        try:
            if self._ours is not None and _identity(self._path) == self._ours:
                self._path.unlink()
        except FileNotFoundError:
            return

    def _require_silent(self) -> None:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self._path))
            except (FileNotFoundError, ConnectionRefusedError):
                pass
            except OSError as error:
                raise self._refused(error) from error
            else:
                raise AddressInUse(
                    f"a server listens on {self._address} already", field=self._address
                )

    def _refused(self, why: OSError | str) -> InvalidInput:
        reason = why if isinstance(why, str) else why.strerror or str(why)
        return InvalidInput(f"cannot listen on {self._address}: {reason}", field=self._address)


def _identity(path: Path) -> tuple[int, int]:
    found = os.lstat(path)
    return found.st_dev, found.st_ino
