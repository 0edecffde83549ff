"""Reports to a supervisor over its datagram socket: sd_notify(3) in a few lines of the standard library.

Owns the socket and the form of the messages. Knows nothing of the daemon or of when to report. Nothing here raises: an
unreachable supervisor must not end the process that it supervises.
"""

import logging
import os
import socket
import time
from collections.abc import Mapping

log = logging.getLogger("streamcab.notify")

PATIENCE_S = 0.5
"""How long a message may wait while the supervisor is too busy to read."""


class Supervisor:
    """The supervisor of this process.

    watched: whether it kills a process that stops reporting   serves: whether it was told that this one is ready
    """

    def __init__(self, address: str, watched: bool) -> None:
        """`address`: the path of a socket, or, behind an @, an abstract name."""
        self.watched = watched
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._warned = False
        self.serves = False

    def waiting(self, text: str) -> None:
        """Report that the daemon is not ready yet, and why."""
        self._tell(f"STATUS={_line(text)}")

    def ready(self, text: str) -> None:
        """Report that the daemon is serving."""
        self.serves = True
        self._tell("READY=1", f"STATUS={_line(text)}", *self._ping)

    def alive(self, text: str) -> None:
        """Feed the watchdog. Call this after real work only."""
        self._tell(f"STATUS={_line(text)}", *self._ping)

    def reloading(self) -> None:
        """Say that settings are being read again; `reloaded` follows. Who never was ready says neither."""
        if self.serves:
            # The clock is what systemd from 253 on (Type=notify-reload) asks for; older ones ignore it.
            self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def reloaded(self) -> None:
        """Say that the settings have been read again."""
        if self.serves:
            self._tell("READY=1")

    def stopping(self) -> None:
        """Report that the daemon is stopping."""
        self.serves = False
        self._tell("STOPPING=1", "STATUS=saying goodbye")

    @property
    def _ping(self) -> tuple[str, ...]:
        return ("WATCHDOG=1",) if self.watched else ()

    def _tell(self, *fields: str) -> None:
        # A socket for each message: a supervisor that starts anew listens on another.
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as s:
                s.settimeout(PATIENCE_S)
                s.sendto("\n".join(fields).encode(), self._address)
            self._warned = False
        except OSError as error:
            if not self._warned:
                log.warning("cannot notify the supervisor of %s: %s", fields[0], error)
            self._warned = True


def from_environment(environment: Mapping[str, str] = os.environ) -> Supervisor | None:
    """Return the supervisor that systemd names in NOTIFY_SOCKET and WATCHDOG_USEC; None without one."""
    address = environment.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@") or len(address) < 2:
        if address:
            log.warning(
                "NOTIFY_SOCKET is %r: neither a path nor an abstract name; notifications are off", address
            )
        return None
    meant = environment.get("WATCHDOG_PID", "")
    watched = environment.get("WATCHDOG_USEC", "0") != "0" and meant in ("", str(os.getpid()))
    return Supervisor(address, watched)


def _line(text: str) -> str:
    return " ".join(text.split())
