"""Calls over WebSocket and TCP as a source: one thread with an event loop, and a line for each track of a call.

Owns the thread. Knows nothing of messages: that is in `streamcab.media`.
"""

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Any

from streamcab.config.address import is_loopback
from streamcab.errors import ConfigError, SourceError
from streamcab.media import server, tcp
from streamcab.media.addresses import Reserved, address_of, parsed, tls_context
from streamcab.media.admission import Admission, Secrets
from streamcab.media.calls import Calls, News, Stream
from streamcab.media.fields import is_number
from streamcab.media.tracks import RING_S
from streamcab.rtp.allow import AllowList
from streamcab.rtp.bank import ScatterBank
from streamcab.rtp.names import clean
from streamcab.source.incoming import Handover, Incoming, until_tick
from streamcab.source.line import Line
from streamcab.text import stream_name

log = logging.getLogger("streamcab.source")

TICK_S = 0.02
WATCH_S = 0.25
LOOK_S = 1.0
START_S, CLOSE_S, LINGER_S = 10.0, 0.8, 0.3
SWITCH_S = 0.0005
"""How long Python lets a thread go on while another waits; see `source/rtp.py`."""
WARN_S = 10.0
"""Between two warnings of calls for which there is no room."""
CALL_LENGTH = 100
"""Characters of a call's id in a stream's name."""


class MediaSource(Incoming):
    """Implements `Source` for calls that platforms send to `binds` (WebSocket) and `sockets` (AudioSocket).

    max_streams  streams at a time
    secrets      who may send; without them the addresses must be loopback
    url          the public address of the server, over which vendors sign
    tls          files of a certificate and of its key
    plain        serve other machines without TLS, which something in front of the server provides
    allow        networks that may connect; empty means all
    per_address  connections that one address may have
    idle_s       how long a call whose connection broke off waits for another
    number       what becomes of a telephone number: its pseudonym, itself, or nothing
    room         given where other processes serve at the same addresses; see `Gate.room`
    """

    def __init__(
        self,
        binds: Sequence[str] = (),
        sockets: Sequence[str] = (),
        *,
        max_streams: int,
        secrets: Secrets | None = None,
        url: str = "",
        tls: tuple[Path, Path] | None = None,
        plain: bool = False,
        allow: Sequence[str] = (),
        per_address: int = 1000,
        idle_s: float = 10.0,
        number: Callable[[str], str] = lambda _: "",
        room: Callable[[int], bool] | None = None,
    ) -> None:
        super().__init__()
        self._binds, self._sockets, self._number = parsed(binds), parsed(sockets), number
        for bind in self._binds:
            if is_loopback(bind.host):
                continue
            if secrets is None:
                raise ConfigError(f"--media {bind} can be reached from other machines: give --media-secrets")
            if tls is None and not plain:
                raise ConfigError(
                    f"--media {bind} can be reached from other machines: give --media-cert and --media-key, "
                    "or --media-plain if something in front of it provides TLS"
                )
        for bind in self._sockets:
            if not is_loopback(bind.host) and not allow:
                raise ConfigError(
                    f"--audiosocket {bind} can be reached from other machines, and AudioSocket has no password: "
                    "say with --allow which networks may send"
                )
        self._context = tls_context(*tls) if tls is not None else None
        self._calls = Calls(max_streams, idle_s)
        self._gate = server.Gate(
            self._calls, Admission(secrets, url), per_address, AllowList(allow) if allow else None
        )
        self._shared = room is not None
        if room is not None:
            self._gate.room = room
        self.addresses: list[str] = []
        """Where it listens, after `start`: with the ports that the system chose."""
        self._lines: dict[Stream, Line] = {}
        self._streams: dict[Line, Stream] = {}
        self._handover = Handover()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Event | None = None
        self._started = threading.Event()
        self._failure: OSError | None = None
        self._warned, self._refused, self._errors = 0.0, 0, 0

    def reserve(self) -> Reserved:
        """Keep the addresses for several processes, as `start` would bind them. SourceError when one is taken."""
        try:
            return Reserved([*self._binds, *self._sockets])
        except OSError as error:
            raise SourceError(f"cannot serve calls: {error}") from None

    def retune(self, allow: Iterable[str], name_map: str | Path | None, idle_s: float) -> None:
        """Take other senders, for connections that begin from now on, and another patience; raise ConfigError."""
        listed = list(allow)
        self._gate.allow = AllowList(listed) if listed else None
        self._calls.idle_s = idle_s

    # -- Source ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Bind the addresses and serve. SourceError when one is taken."""
        assert self._thread is None, "started twice"
        sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_S))
        self._thread = threading.Thread(target=self._run, name="media", daemon=True)
        self._thread.start()
        if not self._started.wait(START_S):
            raise SourceError("the media server did not start")
        if self._failure is not None:
            raise SourceError(f"cannot serve calls: {self._failure}")

    def streams(self) -> list[Line]:
        """Return tracks of calls of which the first audio has come since the last time."""
        return self._handover.begun()

    def release(self, line: Line) -> None:
        """Free the stream's row for another."""
        self._handover.release(line)

    def counters(self) -> dict[str, int]:
        """Count calls, connections and messages that were refused or dropped, by reason."""
        counted = {f"media_{name}": n for name, n in self._gate.counts.copy().items()}
        return {**self._calls.counts, **counted, "media_errors": self._errors}

    def close(self) -> None:
        """End every call, then the thread."""
        self._stop.set()
        loop, ended = self._loop, self._ended
        if loop is not None and ended is not None and not loop.is_closed():
            try:
                loop.call_soon_threadsafe(ended.set)
            except RuntimeError:  # it has ended by itself
                log.debug("media: the loop has ended")
        if self._thread is not None:
            self._thread.join(CLOSE_S)

    @property
    def bytes_per_stream(self) -> int:
        """Memory of the ring of one more G.711 call."""
        return ScatterBank(8000, 1, RING_S, compact=True, touch=False).bytes_per_row

    # -- the thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except OSError as error:
            self._failure = error
        except Exception:
            log.exception("media: an error inside streamcab")
        finally:
            self._started.set()
            self._calls.end_all("the source was closed", time.monotonic())
            self._tell()

    async def _serve(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        servers: list[Any] = []
        openings: list[Coroutine[Any, Any, Any]] = [
            *(
                server.start(self._gate, bind.host, bind.port, self._context, shared=self._shared)
                for bind in self._binds
            ),
            *(tcp.start(self._gate, bind.host, bind.port, shared=self._shared) for bind in self._sockets),
        ]
        try:
            for opening in openings:
                servers.append(await opening)  # noqa: PERF401 - those before a failure must be closed
            self.addresses = [address_of(each) for each in servers]
            log.info("media: serving at %s", ", ".join(self.addresses))
            self._started.set()
            await self._tick_until(self._ended)
        finally:
            for opening in openings:
                opening.close()
            for each in servers:
                each.close()
            # Those that are connected hear that it is over, if they listen.
            closing = [asyncio.ensure_future(each.wait_closed()) for each in servers]
            if closing:
                await asyncio.wait(closing, timeout=LINGER_S)

    async def _tick_until(self, ended: asyncio.Event) -> None:
        turn, next_watch, next_look = round(time.monotonic() / TICK_S), 0.0, 0.0
        while not ended.is_set():
            await asyncio.sleep(until_tick(TICK_S, time.monotonic()))
            now = time.monotonic()
            last, turn = turn, round(now / TICK_S)
            try:
                for missed in range(max(last, turn - server.TURNS) + 1, turn + 1):
                    self._gate.tick(missed)
                self._calls.tick(now)
                if now >= next_watch:
                    next_watch = now + WATCH_S
                    self._calls.watch(now)
                if now >= next_look:
                    next_look = now + LOOK_S
                    self._gate.look(now)
                    self._gate.room(self._calls.rings.free)
                    self._warn(now)
                self._tell()
            except Exception:  # a defect of ours must cost a tick, not all calls
                self._errors += 1
                if self._errors & (self._errors - 1) == 0:
                    log.exception("media: an error inside streamcab (%d so far)", self._errors)

    def _warn(self, now: float) -> None:
        refused = self._calls.counts["media_refused"]
        if refused > self._refused and now - self._warned > WARN_S:
            log.warning(
                "media: no room for %d streams: all are taken; raise --max-streams", refused - self._refused
            )
            self._refused, self._warned = refused, now

    # -- lines -----------------------------------------------------------------------------------------------

    def _tell(self) -> None:
        """Turn the calls' news into lines, and free the rows that the reader has released."""
        while self._calls.news:
            self._hear(self._calls.news.popleft())
        for line in self._handover.released():
            stream = self._streams.get(line)
            if stream is None:
                continue
            self._calls.release(stream)
            if stream.over:
                self._forget(stream)

    def _hear(self, news: News) -> None:
        stream = news.stream
        if news.what == "began":
            line = self._line(stream)
            self._lines[stream], self._streams[line] = line, stream
            self._handover.begin(line)
            return
        line_of = self._lines.get(stream)
        if line_of is None:
            return
        line_of.move(news.what, news.why)
        if news.what == "ended":
            if stream.released:
                self._forget(stream)
            else:
                stream.bank.finish(stream.row)

    def _forget(self, stream: Stream) -> None:
        line = self._lines.pop(stream, None)
        if line is not None:
            self._streams.pop(line, None)

    def _line(self, stream: Stream) -> Line:
        start = stream.start
        call = (clean(start.call) or stream_name(start.call))[:CALL_LENGTH]
        name = f"{call}-{stream.track}" if len(start.tracks) > 1 else call
        told = {k: v for k, v in start.labels.items() if k not in ("platform", "track", "call")}
        told |= start.numbers
        # Customers pass numbers as parameters, too, where the platform sends none.
        told = {k: self._number(v) if is_number(k, v) else v for k, v in told.items()}
        words = f"{stream.protocol} {stream.track}, {start.codec.removesuffix('LE')} {start.rate} Hz"
        return Line(
            name,
            stream.bank,
            stream.row,
            words,
            labels={"codec": start.codec, "call": start.call, "source": f"{stream.peer}:0"},
            loudest=logging.INFO,
            call={
                "platform": stream.protocol,
                "track": stream.track,
                "call": start.call,
                **{k: v for k, v in told.items() if v},
            },
        )
