"""The sessions behind `listen`, `watch` and `demo`: a daemon in its thread, and a view of the feed.

The view is an ordinary subscriber: it reads the feed over its socket, as it would on another machine. Knows nothing of
options or exit codes.
"""

import csv
import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from streamcab.errors import SourceError
from streamcab.feed import Subscriber
from streamcab.message import AnyMessage, Prediction, encode
from streamcab.ops.output import Output

if TYPE_CHECKING:
    from streamcab.daemon.loop import Daemon
    from streamcab.daemon.settings import Settings
    from streamcab.daemon.sidecars import Extras
    from streamcab.feed.curve import ClientKeys
    from streamcab.nn.backend import Backend
    from streamcab.nn.checkpoint import Checkpoint
    from streamcab.ops.notify import Supervisor
    from streamcab.record.recorder import Recorder
    from streamcab.shards.pool import ShardPool
    from streamcab.source import Source
    from streamcab.web.child import Page
    from streamcab.workers.pool import WorkerPool

    MakeBackend = Callable[[int], Backend]  # from the number of slots

JOIN_S = 2.0
"""Seconds for which a daemon waits for its own view to subscribe, so that the view misses nothing."""
LAST_WORDS_S = 0.3
"""Seconds to wait for the last messages of a daemon that has ended."""
STAGGER_S = 0.7
"""Seconds between the starts of the demo's calls."""
LOOK_S = 0.5
"""Seconds between two looks for a signal."""


def listen(
    checkpoint: "Checkpoint",
    backend: "MakeBackend",
    sources: "Sequence[Source]",
    settings: "Settings",
    stop: threading.Event,
    extras: "Extras",
    screen: "Screen | None" = None,
) -> None:
    """Serve until `stop` or until every source is done, and show the feed meanwhile.

    If the session ends by itself, raises the error of a source that has failed.
    """
    by_itself = _serve(checkpoint, backend, sources, settings, stop, screen, extras)
    if screen is not None:
        screen.summarise()
    failures = [failure for source in sources if (failure := getattr(source, "failure", None))]
    if by_itself and failures:
        raise failures[0]


def watch(
    endpoint: str,
    streams: Sequence[str],
    stop: threading.Event,
    *,
    as_json: bool,
    every_s: float,
    keys: "ClientKeys | None" = None,
) -> None:
    """Show the feed of another process until `stop`; FeedError if it refuses the connection."""
    with Subscriber(endpoint, streams or None, keys=keys) as feed:
        Screen(None, as_json, every_s, caption=endpoint).show(feed, stop)


def demo(
    checkpoint: "Checkpoint",
    backend: "MakeBackend",
    clips: Path | None,
    endpoint: str,
    stop: threading.Event,
    *,
    view: bool | None,
    page: "Page | None" = None,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Play clips as live calls with staggered starts, and end with a summary; `ready` as in `listen`."""
    from streamcab.daemon.settings import Settings
    from streamcab.source.file import SOUNDS, AudioFile

    folder = clips or Path(str(resources.files("streamcab") / "clips"))
    files = sorted(f for f in folder.glob("*") if f.suffix.lower() in SOUNDS)
    if not files:
        raise SourceError(
            f"no audio in {folder}; it should hold files that end in {', '.join(sorted(SOUNDS))}"
        )
    # Accents mixed from the start: uk-1, us-1, uk-2, ...
    files.sort(key=lambda f: (f.stem.rpartition("-")[2], f.name))
    sources = [AudioFile(f, "live", delay_s=i * STAGGER_S) for i, f in enumerate(files)]
    caption = "synthetic voices" if clips is None else str(clips)
    screen = Screen(view, caption=caption if page is None else f"{caption}, {page.url}", ready=ready)
    _serve(checkpoint, backend, sources, Settings(endpoint, max_streams=len(files)), stop, screen, page=page)
    screen.summarise(_spoken(folder))
    if clips is None:
        screen.say(DEMO_NOTE if page is None else DEMO_NOTE + PAGE_NOTE)


def _spoken(folder: Path) -> dict[str, str]:
    """Read the label of each clip, as a stream is called, from `clips.csv` where there is one."""
    from streamcab.text import read_text, stream_name

    try:
        rows = csv.DictReader(read_text(folder / "clips.csv").splitlines())
        return {stream_name(Path(row["file"]).stem): row["label"] for row in rows}
    except (OSError, UnicodeDecodeError, KeyError, TypeError):
        return {}


class Screen:
    """Shows the feed: as a view on a terminal, else as lines; or as JSON, every prediction at once."""

    def __init__(
        self,
        view: bool | None = None,
        as_json: bool = False,
        every_s: float = 1.0,
        caption: str = "",
        ready: Callable[[], None] = lambda: None,
    ) -> None:
        from rich.console import Console

        from streamcab import view as views

        self._views = views
        self._console = Console(color_system="auto" if views.named(os.environ) else None)
        self._out = Output(sys.stdout)
        self._board = views.Board()
        self._drawn = view is not False and views.drawable(self._console) and not as_json
        self._json, self._every_s, self._caption, self._ready = as_json, every_s, caption, ready

    def show(self, feed: Subscriber, stop: threading.Event) -> None:
        """Show the feed until `stop`, or until the user quits."""
        self._ready()
        if self._json:
            while not stop.is_set():
                self._write(feed.recv(0.1), *feed.drain())
        elif self._drawn:
            with self._views.captured_stderr():
                self._views.watch(feed, self._console, stop=stop, caption=self._caption, board=self._board)
        else:
            self._views.lines(feed, self._out, every=self._every_s, stop=stop, board=self._board)

    def add(self, messages: Sequence[AnyMessage]) -> None:
        """Add the last messages of a daemon that has ended."""
        if self._json:
            self._write(*messages)
        else:
            self._board.add(messages, time.monotonic())

    def summarise(self, spoken: Mapping[str, str] | None = None) -> None:
        """Print the final answer of each stream; `spoken` is what would be right."""
        if self._json or not self._board.predictions():
            return
        try:
            self._console.print(self._views.summary(self._board, spoken))
        except BrokenPipeError:
            raise
        except OSError:  # a full disk, which was reported already
            self._out.give_up()

    def say(self, text: str) -> None:
        """Print a closing line for people."""
        self._console.print(text, highlight=False, soft_wrap=True)

    def _write(self, *messages: AnyMessage | None) -> None:
        for message in messages:
            if isinstance(message, Prediction):
                self._out.write(encode(message).decode() + "\n")
        self._out.flush()


def _serve(
    checkpoint: "Checkpoint",
    backend: "MakeBackend",
    sources: "Sequence[Source]",
    settings: "Settings",
    stop: threading.Event,
    screen: Screen | None,
    extras: "Extras | None" = None,
    page: "Page | None" = None,
) -> bool:
    """Run a daemon in a thread and `screen` here, until either ends or `stop`; raise the daemon's error.

    Returns whether the daemon ended by itself.
    """
    from streamcab.daemon.loop import Daemon
    from streamcab.ops.notify import from_environment

    supervisor, recorder = from_environment(), None
    if extras is not None and extras.retention is not None:
        from streamcab.record.recorder import Recorder

        recorder = Recorder(extras.retention)
    daemon = Daemon(
        checkpoint,
        sources,
        settings,
        backend(settings.max_streams),
        supervisor,
        recorder=recorder,
        beside=extras.counters() if extras is not None else (),
        taps=extras.taps() if extras is not None else (),
        run=extras.run if extras is not None else None,
    )
    # Otherwise the interpreter walks all of torch at its exit, which takes more than a second.
    gc.freeze()
    return attend(daemon, sources, settings, stop, screen, supervisor, extras, recorder, page)


def attend(
    daemon: "Daemon | WorkerPool | ShardPool",
    sources: "Sequence[Source]",
    settings: "Settings",
    stop: threading.Event,
    screen: Screen | None,
    supervisor: "Supervisor | None",
    extras: "Extras | None" = None,
    recorder: "Recorder | None" = None,
    page: "Page | None" = None,
) -> bool:
    """Run a daemon in a thread, and `screen` and what is beside it here; see `_serve`.

    Without a screen it only waits. What is on the screen at the end is for the caller to sum up.
    """
    from streamcab.daemon.sidecars import beside

    readers = (screen is not None) + (extras is not None and extras.lines is not None)
    died: list[BaseException] = []
    by_itself = False

    def body() -> None:
        nonlocal by_itself
        try:
            daemon.run(stop, await_subscriber_s=JOIN_S if readers else 0.0, subscribers=readers)
            by_itself = not stop.is_set()
        except BaseException as error:
            died.append(error)
        finally:
            stop.set()

    thread = threading.Thread(target=body, name="inference")
    keys = settings.keys.local if settings.keys else None
    with ExitStack() as stack:
        feed = None
        if screen is not None:
            feed = stack.enter_context(Subscriber(daemon.endpoint, keys=keys))
        if recorder is not None:
            stack.callback(recorder.close)
        if extras is not None:
            stack.enter_context(beside(daemon, sources, extras, recorder, supervisor, keys))
        page = page or (extras.page if extras is not None else None)
        if page is not None:
            stack.enter_context(page.beside(daemon.endpoint, keys))
        thread.start()
        try:
            if screen is None or feed is None:
                # A signal that another thread takes, as after SIGCONT, does not end a wait.
                while not stop.wait(LOOK_S):
                    pass
            else:
                screen.show(feed, stop)
        finally:
            stop.set()
            thread.join()
        if died:
            raise died[0]
        if screen is not None and feed is not None:
            last = feed.recv(LAST_WORDS_S)
            screen.add([m for m in (last, *feed.drain()) if m is not None])
    return by_itself


DEMO_NOTE = """
These were synthetic voices, played as live calls: source, ring, engine, feed
and view as in real use. The bundled model is a weak one, honestly measured on
people: see streamcab/models/README.md.
Now try:  .venv/bin/streamcab listen --device 0"""
PAGE_NOTE = """
The page ended with the demo. One that stays: add --web 127.0.0.1:8484"""
