"""Samples from a microphone, taken up again when it is lost and returns.

Owns the thread that reads it, and the ways in which a device dies. Knows nothing of what a silent re-route of
the sound server hides: samples that keep coming are believed.
"""

import atexit
import logging
import random
import time
from typing import Any

from streamcab.errors import StreamcabError
from streamcab.source import GONE, Line
from streamcab.source.channel import channel_number
from streamcab.source.device import (
    BLOCKS_PER_SECOND,
    Device,
    find_again,
    find_device,
    line_of,
    list_devices,
    lock,
    open_device,
    portaudio,
    shut_device,
)
from streamcab.source.single import SingleStream, stream_name
from streamcab.text import printable

log = logging.getLogger("streamcab.source")

__all__ = ["Microphone", "list_devices"]

PATIENCE_S = 1.0
"""A microphone delivers even silence: without samples for so long it is lost, for half of it stalled."""
FIRST_PATIENCE_S = 3.0
"""A sound server that wakes up takes 0.7 to 1.7 s to the first sample."""
HANGS_S = 3.0
RETRY_S = (0.5, 10.0)
WARN_S = 60.0
INPUT_OVERFLOWED = -9981


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
        self._stall_s = patience / 2
        self._retry = retry
        self._rate = 0  # Hz; 0 until the first opening settles it
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
        with lock:
            self._device = find_device(self._wanted, list_devices())
            self._stream = self._open()
        try:
            self._name_line()
        except StreamcabError:
            self._shut(self._stream)
            raise

    def _name_line(self) -> None:
        """Start the stream, and log the device that was opened."""
        d = self._device
        self._begin(
            self._name or stream_name(d.name),
            self._rate,
            f"microphone {d.name} ({d.host_api}), {self._rate} Hz, "
            f"channels: {self._stream.channels}, channel: {self._channel}",
            {"device": d.name},
            channel=self._channel,
            channels=self._stream.channels,
        )

    def _open(self) -> Any:
        """Open `_device`, at `_rate` if that is settled; sets it. Returns the stream."""
        number = channel_number(self._channel, self._device.channels)
        stream, self._rate = open_device(self._device, number, self._rate)
        return stream

    def _shut(self, stream: Any) -> None:
        shut_device(stream)

    def streams(self) -> list[Line]:
        """Return the stream, once. Looks after the thread, too: a driver that hangs can only be told of."""
        line = self._lines[0] if self._lines else None
        if line is not None and line.state not in GONE and not line.bank.ended[line.row]:
            silence = time.monotonic() - self._beat
            if self._beat and silence > HANGS_S:
                self._say_lost(f"its driver has hung for {silence:.0f} s; if it stays so, restart streamcab")
        return super().streams()

    def close(self) -> None:
        """Close the source. A thread that hangs in the driver is left behind, and so is PortAudio."""
        super().close()
        if self._thread is not None and self._thread.is_alive():
            log.warning(
                "%s: the driver hangs and has been abandoned", self.line.name, extra={"line": self.line}
            )
            # Closing PortAudio when Python ends would hang as well.
            atexit.unregister(portaudio()._exit_handler)

    def _capture(self) -> None:
        stream = self._stream
        while True:
            try:
                why = self._listen(stream)
                if why:
                    self._say_lost(why)  # before closing, which may hang
            finally:
                self._shut(stream)
            if self._stop.is_set():
                return
            stream = self._reopen()
            if stream is None:
                return

    def _listen(self, stream: Any) -> str:
        """Write what comes until the source is closed ("") or the device is lost: why, in words."""
        sd, bank, rate = portaudio(), self._bank, self._rate
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
                # All of it: while a part is left, the Pulse plugin holds memory of the server, and its thread
                # and ours would wait for that for ever when the server dies.
                frames, overflowed = stream.read(ready)
            except sd.PortAudioError as error:
                if len(error.args) > 1 and error.args[1] == INPUT_OVERFLOWED:
                    self._say_overflow()
                    self._stop.wait(0.002)
                    continue
                return line_of(error)
            heard, patience = now, self._patience
            if overflowed:
                self._say_overflow()
            back = self.line.state in GONE
            if back or overflowed:
                gap = round((now - self._last) * rate) - ready
                if self._last and gap > block:
                    for row in range(bank.rows):
                        bank.skip(row, gap, now - ready / rate)
            self._last = now
            self._write(self._mixed(frames), now)
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
            self._move("reconnecting", self.line.detail)
            try:
                with lock:
                    self._device = self._find_again()
                    self.line.labels["device"] = self._device.name  # the number of its card may be another
                    return self._open()
            except StreamcabError as error:
                self.line.detail = printable(str(error))

    def _find_again(self) -> Device:
        return find_again(self._device, list_devices())

    def _say_lost(self, why: str) -> None:
        self._move("lost", f"the microphone {self._device.name!r}: {why}; it is reopened when it returns")

    def _say_live(self) -> None:
        self._attempts = 0
        self._reopened += 1
        lost = int(self.line.bank.skipped[self.line.row]) / self._rate
        self._move("live", f"{lost:.1f} s have been lost since it began")

    def _say_overflow(self) -> None:
        """Count; tell once a minute at most."""
        bank, row = self._bank, 0
        bank.overflows += 1
        now = time.monotonic()
        if now - self._warned >= WARN_S:
            self._warned = now
            log.warning(
                "%s: the device overflowed (%d times so far): samples are lost; the machine is too busy",
                self.line.name,
                bank.overflows[row],
                extra={"line": self.line},
            )

    def counters(self) -> dict[str, int]:
        """Return the counters of every stream, and `reopened`: how often the device returned."""
        return super().counters() | {"reopened": self._reopened}
