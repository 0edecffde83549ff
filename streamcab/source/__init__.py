"""Sources of samples: the seam between capture and the engine.

A source runs a thread of its own, writes into rows of banks that it owns, and announces streams that begin. It never
calls the engine; the daemon reads the banks. One microphone is one source with one stream; one RTP socket is one source
with thousands. Knows nothing of models, intervals or sockets of the feed.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, runtime_checkable

from streamcab.source.line import GONE, Line

__all__ = ["GONE", "Line", "Source", "Speaking", "Tunable"]


class Source(Protocol):
    """The interface of a source to the daemon. Only `start` may raise; later errors are reported as states."""

    def start(self) -> None:
        """Open the device, file or socket, and begin to capture in a thread of its own.

        SourceError, AudioError or ConfigError, with one line for the user.
        """

    def streams(self) -> list[Line]:
        """Return the streams begun since the last call, each told once. Called often: cheap when there is none."""

    def release(self, line: Line) -> None:
        """Free a stream's row: the daemon has published its end."""

    def counters(self) -> dict[str, int]:
        """Return the number of samples or packets refused, dropped or lost, by reason, since the start."""

    def close(self) -> None:
        """Stop capturing, end the thread, free the device; within a second, whatever the device does."""

    @property
    def live(self) -> bool:
        """Paced by the world (microphone, socket) as against a file that can wait."""

    @property
    def done(self) -> bool:
        """Whether no more streams will come."""


@runtime_checkable
class Speaking(Protocol):
    """A source with something to say that belongs to no stream."""

    @property
    def in_words(self) -> str:
        """What an operator should know now, without names; empty if all is well."""


@runtime_checkable
class Tunable(Protocol):
    """A source of calls whose senders and patience can change while it runs."""

    def retune(self, allow: Iterable[str], name_map: str | Path | None, idle_s: float) -> None:
        """Apply new settings from now on; from any thread.

        Raises:
            ConfigError: A setting is wrong; nothing has changed.
        """
