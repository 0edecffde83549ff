"""RTP as a source: sockets and one receive thread.

Every 10 ms, or 20 with many calls, the sockets are emptied in batches and the batches fed to an `Intake`; `Calls` makes
lines of what it tells. One of several processes does so half as often. Owns the thread. Knows nothing of what a packet
means: that is in `streamcab.rtp`.
"""

import logging
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from streamcab.config.setting import settings_of
from streamcab.config.tree import CALLS, Listen, Rtp
from streamcab.errors import ConfigError
from streamcab.rtp.allow import AllowList
from streamcab.rtp.bank import ScatterBank
from streamcab.rtp.decoder import Decoders
from streamcab.rtp.intake import Intake
from streamcab.rtp.loss import SEEN
from streamcab.rtp.names import CallNames, Rule, parse_name_map
from streamcab.rtp.ports import Ports
from streamcab.rtp.receive import Receiver, receiver
from streamcab.rtp.reuseport import spread
from streamcab.rtp.sdp import TypeMap, decodable, parse_sdp, parse_types
from streamcab.rtp.stalls import STALL_S
from streamcab.rtp.udp import Address
from streamcab.source import Line
from streamcab.source.calls import Calls
from streamcab.source.channel import channel_number
from streamcab.source.incoming import Incoming, until_tick
from streamcab.text import read_text

log = logging.getLogger("streamcab.source")

DEFAULT, SETTINGS = Rtp(), settings_of(Listen)
CLOSE_S = 0.8
SAME_CALL = SETTINGS["same_call"].choices
TICK_S, SHARED_TICK_S = 0.01, 0.025
"""Of a process that has all calls, and of one of several: each has fewer packets, and batches are as large."""
MANY = 16
"""Packets in a tick from which on the next one is twice as long, since a batch costs 0.3 ms however little it holds."""
BATCHES = 64
"""Receives per tick at most, lest silence be noticed by nobody while packets pour in."""
SWITCH_S = 0.0005
"""How long Python lets a thread go on while another waits. A batch of packets and a step of the net give the
interpreter up dozens of times and want it back at once: at the usual 5 ms, four in five of 50,000 packets a second
are lost beside a busy thread."""
_STATE_BYTES = 8 * SEEN + 300
"""Of a call, beside its ring: what the table and the intake remember."""


def _text_of(path: str | Path, what: str) -> str:
    """Read a small text file of the user's; raise ConfigError when it cannot be read."""
    try:
        return read_text(Path(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the {what} {path}: {error}") from error


def _allowed(networks: Iterable[str]) -> AllowList | None:
    listed = list(networks)
    return AllowList(listed) if listed else None


def _rules(name_map: str | Path | None) -> list[Rule]:
    return parse_name_map(_text_of(name_map, "name map").splitlines(), str(name_map)) if name_map else []


class RtpSource(Incoming):
    """Implements `Source` for calls that arrive as RTP on any of `binds`; at most `max_streams` at a time.

    binds          addresses to listen on; multicast groups are joined; port 0 lets the system choose
    allow          networks that may send; empty means all
    payload_types  entries such as `97=opus/48000/2`, or {97: "opus/48000/2"}
    sdp            file whose formats are added; where `binds` is empty, its addresses are listened on
    name_map       CSV file of address,port,ssrc,name
    lookback_ms    how long a missing packet is waited for
    idle_s         silence that ends a call
    ring_s         seconds of audio kept per call
    channel        of stereo audio: mix, left, right, a number, or each: every channel is a stream
    decoders       threads for G.722 and Opus
    ports          sockets that are bound already, in place of `binds`
    same_call      `ssrc`: a call goes on under another SSRC of its address and port; `never`: that is another call
    """

    def __init__(
        self,
        binds: Iterable[str] = (),
        *,
        max_streams: int = CALLS,
        allow: Iterable[str] = (),
        payload_types: Iterable[str] | Mapping[int, str] = (),
        sdp: str | Path | None = None,
        name_map: str | Path | None = None,
        lookback_ms: float = DEFAULT.lookback_ms,
        idle_s: float = DEFAULT.idle,
        ring_s: float = 4.0,
        channel: str = "mix",
        tick_s: float = TICK_S,
        decoders: int = 1,
        same_call: str = DEFAULT.same_call,
        ports: Ports | None = None,
    ) -> None:
        super().__init__()
        for name, value, key in (
            ("max_streams", max_streams, "max_streams"),
            ("lookback_ms", lookback_ms, "lookback_ms"),
            ("idle_s", idle_s, "idle"),
        ):
            if not SETTINGS[key].holds(value):
                raise ConfigError(f"{name} must be {SETTINGS[key].range}, not {value}")
        for name, value, least, most in (
            ("ring_s", ring_s, 2.0, 60),
            ("decoders", decoders, 1, 64),
        ):
            if not least <= value <= most:
                raise ConfigError(f"{name} must be {least} to {most}, not {value}")
        if same_call not in SAME_CALL:
            raise ConfigError(f"same_call must be {' or '.join(SAME_CALL)}, not {same_call!r}")
        wanted = TypeMap()
        if sdp is not None:
            wanted.update(parse_sdp(_text_of(sdp, "SDP file"), str(sdp)))
        wanted.update(parse_types(payload_types))
        self._addresses = [Address.parse(text) for text in binds or wanted.endpoints]
        if not self._addresses:
            raise ConfigError("no address to receive RTP on: give one such as 127.0.0.1:5004, or an SDP file")
        self._wanted = wanted
        self._each = channel == "each"
        self._channel = channel_number(channel, 32)
        self._allow = _allowed(allow)
        self._names = CallNames(_rules(name_map), remembered=4 * max_streams)
        self._max_streams, self._lookback_s, self._idle_s = max_streams, lookback_ms / 1000, idle_s
        self._same_call = same_call == "ssrc"
        self._ring_s, self._tick_s, self._threads = ring_s, tick_s, decoders

        self.addresses: list[str] = []
        """Where it listens, after `start`: with the ports that the system chose."""
        self.warnings: list[str] = []
        """What the operator should know, after `start`."""
        self._ports = ports
        self._intake: Intake | None = None
        self._decoders: Decoders | None = None
        self._calls: Calls | None = None
        self._thread: threading.Thread | None = None
        self._errors = 0

    def retune(self, allow: Iterable[str], name_map: str | Path | None, idle_s: float) -> None:
        """Take other senders and patience from now on, other names for calls that begin; from any thread.

        Calls whose senders are no longer allowed end as if they had fallen silent. ConfigError: all stays as it was.
        """
        allowed, rules = _allowed(allow), _rules(name_map)
        self._names.retune(rules)
        self._allow, self._idle_s = allowed, idle_s
        if self._intake is not None:
            self._intake.retune(allowed, idle_s)

    def spread(self, count: int) -> list[Ports]:
        """Bind `count` sockets at each address, one for each process; SourceError or ConfigError if they cannot be."""
        return spread(self._addresses, count, by_port=self._same_call)

    # -- Source ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Bind the sockets and begin to receive. SourceError when a port is taken or a decoder is missing."""
        assert self._thread is None, "started twice"
        sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_S))
        types = decodable(self._wanted)
        if self._ports is not None:
            self._ports.empty()
        ports = self._ports = self._ports or Ports(self._addresses)
        self.addresses, self.warnings = ports.bound, ports.warnings
        if len(types.forms) > 1 or types.forms[0].decoder:  # else no call can change its rate
            self._decoders = Decoders(self._max_streams, self._threads)
        self._intake = Intake(
            types,
            self._max_streams,
            lookback_s=self._lookback_s,
            idle_s=self._idle_s,
            ring_s=self._ring_s,
            channel=self._channel,
            allow=self._allow,
            decoders=self._decoders,
            rtcp_from=len(ports.rtp),
            same_call=self._same_call,
            each=self._each,
        )
        calls = self._calls = Calls(self._intake, self._names, self.addresses)
        self._intake.calls.tell = calls.tell
        for warning in self.warnings:
            log.warning("RTP: %s", warning)
        self._thread = threading.Thread(
            target=self._run,
            args=(receiver(ports.sockets), ports, self._intake, calls),
            name="rtp",
            daemon=True,
        )
        self._thread.start()

    def streams(self) -> list[Line]:
        """Return the calls that have left probation since the last time."""
        return self._calls.begun() if self._calls is not None else []

    def release(self, line: Line) -> None:
        """Free the call's row for another."""
        if self._calls is not None:
            self._calls.release(line)

    def counters(self) -> dict[str, int]:
        """Return datagrams by fate (`accepted`, `duplicate`, `late`, ...), `lost_packets` by sequence number, and
        `kernel_dropped`: what the socket's buffer had no room for."""
        if self._intake is None or self._ports is None:
            return {}
        return {
            **self._intake.counters(),
            "kernel_dropped": self._ports.dropped,
            "undecodable": self._decoders.failed if self._decoders else 0,
            "receive_errors": self._errors,
            "receive_buffer_short": int(self._ports.short),
        }

    @property
    def in_words(self) -> str:
        """See Speaking."""
        return self._calls.refusing if self._calls is not None else ""

    def close(self) -> None:
        """End every call, then the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(CLOSE_S / 2)
        if self._decoders is not None:
            self._decoders.close(CLOSE_S / 2)
        if self._ports is not None:
            self._ports.close()

    @property
    def bytes_per_stream(self) -> int:
        """Memory that one more G.711 call takes here; other codecs take more, in proportion to their rate."""
        return ScatterBank(8000, 1, self._ring_s, compact=True, touch=False).bytes_per_row + _STATE_BYTES

    # -- the receive thread ----------------------------------------------------------------------------------

    def _run(self, inlet: Receiver, ports: Ports, intake: Intake, calls: Calls) -> None:
        next_look = next_watch = 0.0
        failed = packets = 0
        while not self._stop.wait(until_tick(self._tick_s * (2 if packets >= MANY else 1), time.monotonic())):
            packets = 0
            try:
                for _ in range(BATCHES):
                    batch = inlet.receive()
                    if batch is None:
                        break
                    packets += len(batch.length)
                    intake.feed(batch, time.monotonic())
                    if len(batch.length) < 512 and not self._stop.is_set():
                        break
                now = time.monotonic()
                intake.sweep(now)
                calls.tell()
                if now >= next_watch:
                    next_watch = now + STALL_S / 4
                    calls.watch(now)
                if now >= next_look:
                    next_look = now + 1.0
                    ports.look()
            except Exception:  # a defect of ours must cost a batch, not a thousand calls
                failed += 1
                if failed & (failed - 1) == 0:
                    log.exception("RTP: a batch was lost to an error inside streamcab (%d so far)", failed)
            if inlet.errors + failed > self._errors and inlet.error:
                self._complain(inlet)
            self._errors = inlet.errors + failed
        ports.look()
        intake.end_all("the source was closed")
        calls.tell()

    def _complain(self, inlet: Receiver) -> None:
        """Complain once for each power of two: what fails once a tick would fill the log."""
        if inlet.errors & (inlet.errors - 1) == 0:
            log.warning("RTP: receiving failed %d times: %s", inlet.errors, inlet.error)
