"""Samples from a microphone, through PortAudio: found by number or name, taken up again when it returns.

Owns everything that is asked of PortAudio. The library is loaded on first use, so that a machine without
sound can do all the rest. Knows nothing of what a silent re-route of the sound server hides: samples that
keep coming are believed.
"""

import atexit
import logging
import random
import re
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from streamcab.errors import SourceError, StreamcabError
from streamcab.source import Line
from streamcab.source.channel import channel_number, pick_channel
from streamcab.source.single import SingleStream, stream_name

log = logging.getLogger("streamcab.source")

RATES = (48000, 44100)
"""Tried after the device's own; ours to resample, since a device's driver often refuses the rest."""
BLOCKS_PER_SECOND = 100
BUFFER_S = 0.1
"""What the device holds for us while we are late; it delivers in quarters of this."""
PATIENCE_S = 1.0
"""A microphone delivers even silence: without samples for so long it is lost."""
FIRST_PATIENCE_S = 3.0
"""A sound server that wakes up takes 0.7 to 1.7 s to the first sample."""
HANGS_S = 3.0
RETRY_S = (0.5, 10.0)
WARN_S = 60.0
MOST_CHANNELS = 8
"""Beyond this a device is software, and the number an upper bound: sound servers say 32 whatever there is."""
INPUT_OVERFLOWED = -9981

# PortAudio opens, closes and enumerates one thread at a time; its list is renewed only while nothing is open.
_portaudio_lock = threading.RLock()
_open_streams = 0


@dataclass(frozen=True)
class Device:
    """A device that records. `channels` is the most that it offers, `rate` its own in Hz."""

    index: int
    name: str
    channels: int
    rate: int
    default: bool
    host_api: str


def _portaudio() -> Any:
    """The module sounddevice, loaded now. SourceError when the library behind it is missing."""
    try:
        import sounddevice
    except OSError:
        raise SourceError(
            "the PortAudio library is missing, which microphones need: apt install libportaudio2"
        ) from None
    return sounddevice


def list_devices() -> list[Device]:
    """The devices that record, as they are now; none is an empty list. SourceError without PortAudio."""
    with _portaudio_lock:
        fresh = "sounddevice" not in sys.modules
        sd = _portaudio()
        try:
            if not fresh and not _open_streams:
                sd._terminate()
                sd._initialize()
            hosts = sd.query_hostapis()
            first = sd.default.device[0]
            if first < 0:
                first = hosts[0]["default_input_device"] if hosts else -1
            return [
                Device(
                    index=d["index"],
                    name=d["name"],
                    channels=d["max_input_channels"],
                    rate=round(d["default_samplerate"]),
                    default=d["index"] == first,
                    host_api=hosts[d["hostapi"]]["name"],
                )
                for d in sd.query_devices()
                if d["max_input_channels"] > 0
            ]
        except sd.PortAudioError as error:
            raise SourceError(f"PortAudio cannot list the devices: {_line_of(error)}") from None


def find_device(wanted: int | str, devices: Sequence[Device]) -> Device:
    """The device of this index, or the one whose name holds this text (a name that equals it comes first).

    SourceError, with the candidates, when it is none or several.
    """
    if isinstance(wanted, str) and wanted.isascii() and wanted.isdigit():
        wanted = int(wanted)
    if isinstance(wanted, int):
        found = [d for d in devices if d.index == wanted]
    else:
        text = wanted.casefold()
        found = [d for d in devices if d.name.casefold() == text]
        found = found or [d for d in devices if text in f"{d.name}, {d.host_api}".casefold()]
    if len(found) == 1:
        return found[0]
    if not devices:
        raise SourceError(
            f"no microphone {wanted!r}: no device that records was found; see `streamcab devices`"
        )
    listed = ", ".join(f"{d.index} {d.name!r}" for d in found or devices)
    if found:
        raise SourceError(f"{wanted!r} names {len(found)} microphones: {listed}; see `streamcab devices`")
    raise SourceError(f"no microphone {wanted!r}; there are: {listed}; see `streamcab devices`")


def find_again(lost: Device, devices: Sequence[Device]) -> Device:
    """The device of the same name, wherever it stands in the list now. SourceError when it is not there."""
    same = [d for d in devices if (d.name, d.host_api) == (lost.name, lost.host_api)]
    # ALSA ends a name with the number of the card, which may be another after a reconnection.
    same = same or [d for d in devices if _without_card(d.name) == _without_card(lost.name)]
    if not same:
        raise SourceError(f"the microphone {lost.name!r} is gone; it is taken up again when it returns")
    return same[0]


def _without_card(name: str) -> str:
    return re.sub(r"\s*\((plug)?hw:\d+,\d+\)$", "", name)


def _line_of(error: Exception) -> str:
    return " ".join(str(error).split())


class Microphone(SingleStream):
    """One microphone as a stream, at the device's own rate.

    device    index, or a part of the name in any case
    channel   mix, left, right or a number from 1; `mix` is the mean of all, or of a sound server's first two
    patience  seconds without samples after which the device is lost
    retry     shortest and longest pause, in seconds, between attempts to open it again
    """

    def __init__(
        self,
        device: int | str,
        channel: str = "mix",
        name: str | None = None,
        *,
        patience: float = PATIENCE_S,
        retry: tuple[float, float] = RETRY_S,
    ) -> None:
        super().__init__()
        self._wanted = device
        self._channel = channel
        self._name = name
        self._patience = patience
        self._retry = retry
        self._attempts = 0
        self._reopened = 0
        self._last = 0.0  # when the newest sample was captured; 0 before the first
        self._beat = 0.0  # when the thread was last seen alive
        self._warned = -WARN_S

    @property
    def live(self) -> bool:
        """True: a microphone does not wait."""
        return True

    def start(self) -> None:
        """Find and open the device. SourceError, and ConfigError when it has no such channel."""
        with _portaudio_lock:
            self._device = find_device(self._wanted, list_devices())
            self._rate = 0
            self._stream = self._open()
        try:
            self._name_line()
        except StreamcabError:
            self._shut(self._stream)
            raise

    def _name_line(self) -> None:
        """Begin, and say what was opened."""
        d = self._device
        self._begin(
            self._name or stream_name(d.name),
            self._rate,
            f"microphone {d.name} ({d.host_api}), {self._rate} Hz, "
            f"channels: {self._stream.channels}, channel: {self._channel}",
        )

    def _open(self) -> Any:
        """Open and start `_device`, at `_rate` if that is settled. Sets `_rate`; returns the stream."""
        global _open_streams
        sd, d = _portaudio(), self._device
        number = channel_number(self._channel, d.channels)
        few = min(d.channels, max(number or 0, 2))
        counts = [d.channels, few] if number is None and d.channels <= MOST_CHANNELS else [few, d.channels]
        rates = [self._rate] if self._rate else list(dict.fromkeys((d.rate, *RATES)))
        refused = ""
        with _portaudio_lock:
            for rate in rates:
                for count in dict.fromkeys(counts):
                    settings = {"device": d.index, "channels": count, "dtype": "float32", "samplerate": rate}
                    try:
                        sd.check_input_settings(**settings)
                        stream = sd.InputStream(
                            blocksize=rate // BLOCKS_PER_SECOND, latency=BUFFER_S, **settings
                        )
                    except (sd.PortAudioError, ValueError) as error:
                        refused = refused or _line_of(error)
                        continue
                    try:
                        stream.start()
                    except sd.PortAudioError as error:
                        stream.close()
                        refused = refused or _line_of(error)
                        continue
                    _open_streams += 1
                    self._rate = rate
                    return stream
        tried = ", ".join(map(str, rates))
        raise SourceError(
            f"the microphone {d.name!r} cannot be opened at {tried} Hz ({refused}); "
            "is another program using it? See `streamcab devices`"
        )

    def _shut(self, stream: Any) -> None:
        """Close without waiting for the device: stop() would, for ever if it is gone."""
        global _open_streams
        sd = _portaudio()
        with _portaudio_lock:
            _open_streams -= 1
            try:
                stream.abort()
                stream.close()
            except sd.PortAudioError as error:
                log.debug("%s: closed with %s", self.line.name, _line_of(error))

    def streams(self) -> list[Line]:
        """The stream, once. Also looks after the thread: a driver that hangs cannot be interrupted, only told of."""
        line = self._line
        if line is not None and line.state == "live" and not line.bank.ended[line.row]:
            silence = time.monotonic() - self._beat
            if self._beat and silence > HANGS_S:
                self._say_lost(f"its driver has hung for {silence:.0f} s; if it stays so, restart streamcab")
        return super().streams()

    def close(self) -> None:
        """As every source. A thread that hangs in the driver is left behind, and so is PortAudio."""
        super().close()
        if self._thread is not None and self._thread.is_alive():
            log.warning("%s: the driver hangs and is left behind", self.line.name)
            # Closing PortAudio when Python ends would hang as well.
            atexit.unregister(_portaudio()._exit_handler)

    def _capture(self) -> None:
        stream = self._stream
        while True:
            try:
                why = self._listen(stream)
            finally:
                self._shut(stream)
            if self._stop.is_set():
                return
            self._say_lost(why)
            stream = self._reopen()
            if stream is None:
                return

    def _listen(self, stream: Any) -> str:
        """Write what comes until the source is closed ("") or the device is lost: why, in words."""
        sd, bank, row, rate = _portaudio(), self.line.bank, self.line.row, self._rate
        block = rate // BLOCKS_PER_SECOND
        heard, patience = time.monotonic(), max(FIRST_PATIENCE_S, self._patience)
        while not self._stop.is_set():
            self._beat = time.monotonic()
            try:
                # A read of more than there is blocks for ever when the device dies, and nothing frees it.
                ready = stream.read_available
                now = time.monotonic()
                if ready < block:
                    if not stream.active:
                        return "the device stopped"
                    if now - heard > patience:
                        return f"no samples for {patience:g} s"
                    self._stop.wait(max((block - ready) / rate, 0.002))
                    continue
                # All of it: while a part is left, the Pulse plugin holds memory of the server, and its thread, then
                # ours, would wait for ever on that when the server dies.
                frames, overflowed = stream.read(ready)
            except sd.PortAudioError as error:
                if len(error.args) > 1 and error.args[1] == INPUT_OVERFLOWED:
                    self._say_overflow()
                    self._stop.wait(0.002)
                    continue
                return _line_of(error)
            heard, patience = now, self._patience
            if overflowed:
                self._say_overflow()
            back = self.line.state == "lost"
            if back or overflowed:
                gap = round((now - self._last) * rate) - ready
                if self._last and gap > block:
                    bank.skip(row, gap, now - ready / rate)
            self._last = now
            self._write(pick_channel(frames, self._channel), now)
            if back:
                self._say_live()
        return ""

    def _reopen(self) -> Any:
        """Try until the device opens: the stream, or None when the source was closed meanwhile."""
        shortest, longest = self._retry
        while True:
            pause = min(longest, 2 * shortest * 2**self._attempts)
            self._attempts = min(self._attempts + 1, 30)
            # Jittered: after a power cut a hundred machines ask one sound server.
            if self._stop.wait(pause * random.uniform(0.5, 1.0)):
                return None
            try:
                with _portaudio_lock:
                    self._device = self._find_again()
                    return self._open()
            except StreamcabError as error:
                self.line.detail = str(error)

    def _find_again(self) -> Device:
        return find_again(self._device, list_devices())

    def _say_lost(self, why: str) -> None:
        self.line.detail = f"the microphone {self._device.name!r} is lost: {why}"
        if self.line.state == "lost":
            return
        self.line.state = "lost"
        log.warning("%s: lost: %s; it is taken up again when it returns", self.line.name, why)

    def _say_live(self) -> None:
        self._attempts = 0
        self._reopened += 1
        self.line.detail = ""
        self.line.state = "live"
        lost = int(self.line.bank.skipped[self.line.row]) / self._rate
        log.warning("%s: live again; %.1f s have been lost since it began", self.line.name, lost)

    def _say_overflow(self) -> None:
        """Count; tell once a minute at most."""
        bank, row = self.line.bank, self.line.row
        bank.overflows[row] += 1
        now = time.monotonic()
        if now - self._warned >= WARN_S:
            self._warned = now
            log.warning(
                "%s: the device overflowed (%d times so far): samples are lost; the machine is too busy",
                self.line.name,
                bank.overflows[row],
            )

    def counters(self) -> dict[str, int]:
        """As every stream, and `reopened`: how often the device returned."""
        return super().counters() | {"reopened": self._reopened}
