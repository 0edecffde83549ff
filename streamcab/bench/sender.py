"""The load generator: a process of its own that sends RTP as `Traffic` says, by the clock, in batches of sendmmsg.

Every packet is a function of call and number, so a tick builds all that are due at once with numpy. It never waits for
anybody and never skips: when the machine holds it up it sends what is due, late, and says how late in its report. Knows
nothing of the daemon but its port.

Spoken to in lines of JSON: the orders in, `ready` out, the start (monotonic seconds) in, the report out.
"""

import ctypes
import json
import socket
import sys
import time

import numpy as np
from numpy.typing import NDArray

from streamcab.bench.habits import COMFORT, Habits, other_format
from streamcab.bench.media import MediaPackets
from streamcab.bench.speech import babble, bundled_clips, encode
from streamcab.bench.traffic import Format, Losses, Plan, Traffic
from streamcab.rtp.receive import MMSGHDR

TICK_S = 0.002
ROWS = 1024
"""Packets per sendmmsg, which is also the kernel's limit."""
HEADER = 12
SEND_BUFFER = 4 << 20

Column = NDArray[np.int64]


class Speech:
    """The speech of the calls in one codec: a packet of any call by its number."""

    def __init__(self, form: Format, ptime_ms: int, speech: NDArray[np.uint8]) -> None:
        self.kind, self.bytes = form.kind, form.rate * ptime_ms // 1000 * form.width
        # Round and round: the first packet again behind the last sample.
        joined = np.concatenate((speech, speech[: self.bytes]))
        self._said = np.lib.stride_tricks.sliding_window_view(joined, self.bytes)
        self._round = len(speech)
        self._width = form.width

    def packets(self, share: NDArray[np.float64], packet: Column) -> NDArray[np.uint8]:
        """Make packets (m, bytes) of calls that began at these offsets into the speech."""
        first = (share * (self._round // self._width)).astype(np.int64) * self._width
        payloads: NDArray[np.uint8] = self._said[(first + packet * self.bytes) % self._round]
        return payloads


class Packets:
    """Builds packets and sends them; `sent` and `failed` count them."""

    def __init__(
        self,
        sock: socket.socket,
        plan: Plan,
        traffic: Traffic,
        speech: NDArray[np.uint8],
        other: NDArray[np.uint8] | None = None,
    ) -> None:
        """Speech, and the same in the codec that calls change to."""
        self._sock, self._plan = sock, plan
        self._habits = Habits(plan, traffic)
        self._speech = Speech(traffic.format, traffic.ptime_ms, speech)
        self._other = self._speech
        if other is not None:
            self._other = Speech(other_format(traffic), traffic.ptime_ms, other)
        random = np.random.default_rng(traffic.seed)
        self._share = random.random(plan.calls)
        self._sequence = random.integers(0, 1 << 16, plan.calls)
        self._time = random.integers(0, 1 << 32, plan.calls)
        size = HEADER + max(self._speech.bytes, self._other.bytes)
        self._data = np.zeros((ROWS, size), np.uint8)
        self._data[:, 0] = 0x80
        vector = np.zeros((ROWS, 2), np.uint64)
        vector[:, 0] = self._data.ctypes.data + np.arange(ROWS, dtype=np.uint64) * size
        vector[:, 1] = size
        self._vector = vector
        headers = np.zeros(ROWS, MMSGHDR)
        headers["vector"] = vector.ctypes.data + np.arange(ROWS, dtype=np.uint64) * 16
        headers["vectors"] = 1
        self._headers = headers
        self._call = ctypes.CDLL(None, use_errno=True).sendmmsg
        self._call.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]
        self.sent = 0
        self.failed = 0

    def send(self, serial: Column, packet: Column) -> None:
        """Send packets (m,) of calls (m,)."""
        for at in range(0, len(serial), ROWS):
            self._send(serial[at : at + ROWS], packet[at : at + ROWS])

    def _send(self, serial: Column, packet: Column) -> None:
        n, habits = len(serial), self._habits
        rows = self._data[:n]
        rows[:, 2:4] = _octets((self._sequence[serial] + habits.number(serial, packet)) & 0xFFFF, ">u2")
        rows[:, 4:8] = _octets((self._time[serial] + habits.ticks(serial, packet)) & 0xFFFFFFFF, ">u4")
        rows[:, 8:12] = _octets(self._plan.ssrc[serial], ">u4")
        other = habits.changed(serial, packet)
        for speech, some in ((self._speech, np.flatnonzero(~other)), (self._other, np.flatnonzero(other))):
            if len(some):
                rows[some, 1] = speech.kind
                rows[some, HEADER : HEADER + speech.bytes] = speech.packets(
                    self._share[serial[some]], packet[some]
                )
                self._vector[some, 1] = HEADER + speech.bytes
        quiet = np.flatnonzero(habits.comfort(serial, packet))
        rows[quiet, 1], rows[quiet, HEADER], self._vector[quiet, 1] = COMFORT, 0x41, HEADER + 1
        done = 0
        while done < n:
            at = self._headers.ctypes.data + done * MMSGHDR.itemsize
            got = self._call(self._sock.fileno(), at, n - done, 0)
            if got <= 0:
                # A refused datagram (the listener is gone) costs itself only.
                self.failed += 1
                done += 1
                continue
            self.sent += got
            done += got

    def goodbye(self, serials: Column) -> None:
        """Send RTCP BYE from the same port, for each of these calls."""
        for ssrc in self._plan.ssrc[serials].tolist():
            word = ssrc.to_bytes(4)
            try:
                self._sock.send(bytes([0x80, 201, 0, 1]) + word + bytes([0x81, 203, 0, 1]) + word)
            except OSError:
                self.failed += 1


def _octets(values: NDArray[np.integer], form: str) -> NDArray[np.uint8]:
    column = values.astype(form)
    return column.view(np.uint8).reshape(len(column), -1)


class Delays:
    """Packets that wait to be sent late."""

    def __init__(self) -> None:
        self._due = np.zeros(0)
        self._serial = np.zeros(0, np.int64)
        self._packet = np.zeros(0, np.int64)

    def put(self, due: NDArray[np.float64], serial: Column, packet: Column) -> None:
        """Add packets (m,) of calls (m,) that are to be sent `due` (m,) seconds after the start."""
        self._due = np.concatenate((self._due, due))
        self._serial = np.concatenate((self._serial, serial))
        self._packet = np.concatenate((self._packet, packet))

    def take(self, now: float) -> tuple[Column, Column]:
        """Take the packets that are due, earliest first."""
        ready = np.flatnonzero(self._due <= now)
        ready = ready[np.argsort(self._due[ready], kind="stable")]
        taken = self._serial[ready], self._packet[ready]
        left = self._due > now
        self._due, self._serial, self._packet = self._due[left], self._serial[left], self._packet[left]
        return taken


class Schedule:
    """The packets that are due by a time, in order: calls and numbers, and who says goodbye."""

    def __init__(self, plan: Plan, traffic: Traffic) -> None:
        self._plan, self._traffic = plan, traffic
        self._next = 0
        self._holder = np.full(plan.streams, -1, np.int64)
        self._begin = _by_frame(plan.first)
        self._end = _by_frame(plan.last)
        self._losses = Losses(plan.calls, traffic.loss, traffic.burst, traffic.seed + 1)
        self._random = np.random.default_rng(traffic.seed + 2)
        self._delays = Delays()
        self._habits = Habits(plan, traffic)
        self.withheld = self.silent = 0
        self.heard_from = np.full(plan.calls, -1, np.int64)
        """Of each call, the first packet that was not withheld."""

    @property
    def over(self) -> bool:
        """Whether every frame of the plan has been sent."""
        return self._next >= self._plan.frames * self._plan.streams

    def due(self, elapsed: float) -> tuple[Column, Column, Column]:
        """Return serials and packets to send after `elapsed` seconds, and serials of calls that are over."""
        n = self._plan.streams
        upto = min(int(elapsed / self._plan.frame_s * n) + 1, self._plan.frames * n)
        serials, packets, ended = [], [], []
        while self._next < upto:
            frame, place = divmod(self._next, n)
            if place == 0:
                ended.append(self._turn(frame))
            stop = min(n, place + upto - self._next)
            serial = self._holder[place:stop]
            serial = serial[serial >= 0]
            packet = frame - self._plan.first[serial]
            sent = self._habits.sent(serial, packet)
            self.silent += len(sent) - int(np.count_nonzero(sent))
            serials.append(serial[sent])
            packets.append(packet[sent])
            self._next += stop - place
        if self.over:
            ended.append(np.array(self._end.get(self._plan.frames, []), np.int64))
        none = np.zeros(0, np.int64)
        damaged = [
            self._damage(s, p) for s, p in zip(serials, packets, strict=True)
        ]  # one frame or part of one each: no call twice
        late = self._delays.take(np.inf if self.over else elapsed)
        return (
            np.concatenate([late[0], *(s for s, _ in damaged), none]),
            np.concatenate([late[1], *(p for _, p in damaged), none]),
            np.concatenate([*ended, none]),
        )

    def _turn(self, frame: int) -> Column:
        over = np.array(self._end.get(frame, []), np.int64)
        self._holder[self._plan.place[over]] = -1
        new = np.array(self._begin.get(frame, []), np.int64)
        self._holder[self._plan.place[new]] = new
        return np.concatenate((over, self._habits.byes(frame)))

    def _damage(self, serial: Column, packet: Column) -> tuple[Column, Column]:
        """Return the packets that are sent now; the others are lost, or delayed."""
        traffic = self._traffic
        if traffic.loss:
            kept = ~self._losses.next(serial)
            self.withheld += int(np.count_nonzero(~kept))
            serial, packet = serial[kept], packet[kept]
        new = self.heard_from[serial] < 0
        self.heard_from[serial[new]] = packet[new]
        if traffic.jitter_ms or traffic.reorder:
            delay = self._random.uniform(0, traffic.jitter_ms / 1000, len(serial))
            late = self._random.random(len(serial)) < traffic.reorder
            delay += late * self._random.integers(1, 4, len(serial)) * (1.1 * traffic.frame_s)
            self._delays.put(self._plan.due(serial, packet) + delay, serial, packet)
            return serial[:0], packet[:0]
        return serial, packet


def _by_frame(frames: Column) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for serial, frame in enumerate(frames.tolist()):
        found.setdefault(frame, []).append(serial)
    return found


def main() -> None:
    """Obey the orders on standard input."""
    orders = json.loads(sys.stdin.readline())
    traffic = Traffic(**orders["traffic"])
    plan = Plan(traffic)
    speech = encode(traffic.codec, babble(bundled_clips(), traffic.format.rate))
    if traffic.media:
        _obey(MediaPackets(orders["host"], orders["port"], plan, traffic, speech), Schedule(plan, traffic))
        return
    changed = other_format(traffic)
    other = encode(changed.name, babble(bundled_clips(), changed.rate)) if traffic.mixed else None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        sock.connect((orders["host"], orders["port"]))
        _obey(Packets(sock, plan, traffic, speech, other), Schedule(plan, traffic))


def _obey(packets: "Packets | MediaPackets", schedule: Schedule) -> None:
    print(json.dumps({"ready": True}), flush=True)  # noqa: T201 - the answer to the parent process
    line = sys.stdin.readline()
    if not line:
        return
    late_s = _run(packets, schedule, float(json.loads(line)["start"]))
    report = {
        "sent": packets.sent,
        "failed": packets.failed,
        "withheld": schedule.withheld,
        "silent": schedule.silent,
        "heard_from": schedule.heard_from.tolist(),
        "late_p50_ms": float(np.percentile(late_s, 50)) * 1000,
        "late_p99_ms": float(np.percentile(late_s, 99)) * 1000,
        "late_max_ms": float(np.max(late_s)) * 1000,
        "cpu_s": time.process_time(),
    }
    print(json.dumps(report), flush=True)  # noqa: T201


def _run(packets: "Packets | MediaPackets", schedule: Schedule, start: float) -> list[float]:
    """Send until the plan is done; how late each tick's oldest packet was, in seconds."""
    late_s, last = [], start
    while not schedule.over:
        time.sleep(max(last + TICK_S - time.monotonic(), 0))
        now = time.monotonic()
        serials, numbers, over = schedule.due(now - start)
        packets.send(serials, numbers)
        packets.goodbye(over)
        late_s.append(time.monotonic() - last)
        last = now
    return late_s


if __name__ == "__main__":
    main()
