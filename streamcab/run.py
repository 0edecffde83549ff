"""What the commands `listen`, `watch` and `demo` do: a daemon in its thread, and the feed shown to the user.

The view is a subscriber like any other: it reads the feed over its socket, here as on another machine. Knows nothing of
options or exit codes.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamcab.errors import SourceError, StreamcabError

if TYPE_CHECKING:
    from streamcab.checkpoint import Checkpoint
    from streamcab.daemon import Settings
    from streamcab.source import Source

STAGGER_S = 0.8
"""Between the beginnings of the demo's calls."""


@contextmanager
def serving(
    checkpoint: "Checkpoint",
    device: str,
    sources: "Sequence[Source]",
    settings: "Settings",
    stop: threading.Event,
) -> Iterator[str]:
    """A daemon that runs in a thread for as long as the context lasts; its endpoint. What kills it is raised at exit."""
    from streamcab.backend import TorchBackend
    from streamcab.daemon import Daemon

    backend = TorchBackend(checkpoint.model, settings.max_streams, device)
    daemon = Daemon(checkpoint, sources, settings, backend)
    died: list[BaseException] = []

    def body() -> None:
        try:
            daemon.run(stop)
        except BaseException as error:  # noqa: BLE001 - carried over to the thread that can report it
            died.append(error)
        finally:
            stop.set()

    thread = threading.Thread(target=body, name="inference")
    thread.start()
    try:
        yield daemon.endpoint
    finally:
        stop.set()
        thread.join()
    if died:
        raise died[0]
