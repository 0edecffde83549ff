"""Cost of RTP intake: batches against one receive per datagram, and whether a busy thread makes it lose packets.

    python benchmarks/rtp_intake.py [--seconds 4] [--calls 1000]

Read the ratios: both sides run in turns on the same machine, in the same process. Loopback only.
"""

import argparse
import ctypes
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import numpy as np

from streamcab.rtp.codec import STATIC, TABLES
from streamcab.rtp.intake import Intake
from streamcab.rtp.payload import PayloadTypes
from streamcab.rtp.receive import BatchReceiver, PlainReceiver
from streamcab.rtp.udp import Address, buffer_bytes, kernel_drops, listen
from streamcab.source.rtp import RtpSource

PAYLOAD = 160
PLAIN = {number: encoding for number, encoding in STATIC.items() if not encoding.stateful}


class Load:
    """`calls` senders of 20 ms of G.711 each, sent with sendmmsg: round k is packet k of every call."""

    def __init__(self, port: int, calls: int) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.connect(("127.0.0.1", port))
        self.calls = calls
        self.data = np.random.default_rng(0).integers(0, 256, (calls, 12 + PAYLOAD), np.uint8)
        self.data[:, 0], self.data[:, 1] = 0x80, 0
        self.data[:, 8:12] = np.arange(calls, dtype=">u4").view(np.uint8).reshape(-1, 4)
        self.vector = np.zeros((calls, 2), np.uint64)
        self.vector[:, 0] = self.data.ctypes.data + np.arange(calls, dtype=np.uint64) * self.data.shape[1]
        self.vector[:, 1] = self.data.shape[1]
        self.header = np.zeros((calls, 8), np.uint64)  # struct mmsghdr, 64 bytes
        self.header[:, 2] = self.vector.ctypes.data + np.arange(calls, dtype=np.uint64) * 16
        self.header[:, 3] = 1
        self.call = ctypes.CDLL(None, use_errno=True).sendmmsg
        self.call.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]

    def send(self, k: int, first: int = 0, last: int | None = None) -> None:
        """Send packet k of calls first..last."""
        last = self.calls if last is None else last
        head = struct.pack(">HI", k % 65536, k * PAYLOAD % 2**32)
        self.data[first:last, 2:8] = np.frombuffer(head, np.uint8)
        while first < last:
            sent = self.call(self.sock.fileno(), self.header[first:].ctypes.data, last - first, 0)
            first += max(sent, 0)


class Bare:
    """A packet at a time, the least that can be called an intake: SSRC to row, look-up, write by time."""

    def __init__(self, calls: int) -> None:
        self.table = TABLES["PCMU"]
        self.ring = np.full((calls, 32000), -32768, np.int16)
        self.rows: dict[int, list[int]] = {}
        self.buffer = bytearray(2048)
        self.view = np.frombuffer(self.buffer, np.uint8)
        self.packets = 0

    def take(self, size: int) -> None:
        flags, kind, _, stamp, ssrc = struct.unpack_from(">BBHII", self.buffer)
        if size <= 12 or flags != 0x80 or kind != 0:
            return
        call = self.rows.get(ssrc)
        if call is None:
            call = self.rows[ssrc] = [len(self.rows), stamp]
        at = (stamp - call[1]) % 2**32 % 32000
        self.ring[call[0], at : at + size - 12] = self.table.take(self.view[12:size])
        self.packets += 1

    def drain(self, sock: socket.socket) -> None:
        while True:
            try:
                size = sock.recv_into(self.buffer)
            except BlockingIOError:
                return
            self.take(size)


class Same(Bare):
    """A packet at a time, and all that `Intake` does: source address, header checks, duplicates, loss,
    look-back.
    """

    def __init__(self, calls: int) -> None:
        super().__init__(calls)
        self.calls: dict[tuple[tuple[str, int], int], dict[str, int]] = {}
        self.seen: dict[int, list[int]] = {}
        self.written = np.zeros(calls, np.int64)

    def drain(self, sock: socket.socket) -> None:
        while True:
            try:
                size, source = sock.recvfrom_into(self.buffer)
            except BlockingIOError:
                return
            self.packet(size, source, time.monotonic())

    def packet(self, size: int, source: tuple[str, int], now: float) -> None:
        if size < 12:
            return
        flags, kind, sequence, stamp, ssrc = struct.unpack_from(">BBHII", self.buffer)
        start = 12 + 4 * (flags & 15)
        if flags >> 6 != 2 or flags & 0x30 or start >= size or kind & 127 != 0:
            return
        call = self.calls.get((source, ssrc))
        if call is None:
            row = len(self.calls)
            call = {"row": row, "base": stamp, "at": 0, "newest": 0, "sequence": sequence - 1, "lost": 0}
            self.calls[source, ssrc] = call
            self.seen[row] = [-1] * 256
        away = (stamp - call["base"] + 2**31) % 2**32 - 2**31
        if abs(away) > 24000:
            return
        row, at = call["row"], call["at"] + away
        seen = self.seen[row]
        if seen[sequence & 255] == sequence or at < self.written[row]:
            return
        seen[sequence & 255] = sequence
        ahead = (sequence - call["sequence"] + 32768) % 65536 - 32768
        if ahead > 0:
            call["lost"] += ahead - 1
            call["sequence"] = sequence
        else:
            call["lost"] -= 1
        call["base"], call["at"] = stamp, at
        end = at + size - start
        if end > call["newest"]:
            hole = at - call["newest"]
            if hole > 0:
                self.ring[row, np.arange(call["newest"], at) % 32000] = -32768
            call["newest"] = end
            call["time"] = int(now * 1000)
            self.written[row] = end - 480
        place = at % 32000
        self.ring[row, place : place + size - start] = self.table.take(self.view[start:size])
        self.packets += 1


class Batched:
    """Receives as streamcab does."""

    def __init__(self, calls: int, sock: socket.socket, plain: bool = False) -> None:
        self.intake = Intake(PayloadTypes(PLAIN, {}), calls)
        self.receiver = PlainReceiver([sock]) if plain else BatchReceiver([sock])

    def drain(self, _: socket.socket) -> None:
        while (batch := self.receiver.receive()) is not None:
            self.intake.feed(batch, time.monotonic())
        self.intake.sweep(time.monotonic())

    @property
    def packets(self) -> int:
        return int(self.intake.fates[0])


def drains(calls: int, rounds: int) -> None:
    """Measure microseconds of CPU per packet, from a socket that holds 20 packets of each call."""
    sock = listen(Address("127.0.0.1", 0))
    load = Load(sock.getsockname()[1], calls)
    ways: dict[str, Bare | Batched] = {
        "recvfrom_into, one by one": Same(calls),
        "recv_into, one by one, bare": Bare(calls),
        "recvmmsg and Intake": Batched(calls, sock),
        "recvfrom_into and Intake (portable)": Batched(calls, sock, plain=True),
    }
    each = min(20, buffer_bytes(sock) // (calls * 420))
    cost: dict[str, list[float]] = {name: [] for name in ways}
    k = 0
    for round_ in range(rounds + 1):
        for name, way in ways.items():
            before = way.packets
            for _ in range(each):
                load.send(k)
                k += 1
            begun = time.thread_time()
            way.drain(sock)
            spent = time.thread_time() - begun
            got = way.packets - before
            assert got == calls * each, f"{name}: {got} of {calls * each}, {kernel_drops(sock)} dropped"
            if round_:
                cost[name].append(spent / got * 1e6)
    base = statistics.median(cost["recvfrom_into, one by one"])
    print(f"{calls} calls, {each} packets each in the socket; median of {rounds} rounds in turn\n")
    print(f"{'':38}{'us/packet':>10}{'packets/s':>12}{'ratio':>8}")
    for name, values in cost.items():
        us = statistics.median(values)
        print(f"{name:38}{us:10.2f}{1e6 / us:12,.0f}{base / us:8.2f}")
    sock.close()


def send(port: int, calls: int, seconds: float) -> None:
    """Send 50 packets/s of each call, spread over the 20 ms in ten parts, as a process of its own."""
    load = Load(port, calls)
    parts = np.linspace(0, calls, 11).astype(int).tolist()
    begun, late = time.perf_counter(), 0.0
    for k in range(int(seconds * 50)):
        for part in range(10):
            due = begun + k * 0.02 + part * 0.002
            wait = due - time.perf_counter()
            late = max(late, -wait)
            if wait > 0:
                time.sleep(wait)
            load.send(k, parts[part], parts[part + 1])
    print(f"{int(seconds * 50) * calls} {late * 1000:.0f}")


def live(calls: int, seconds: float, busy: bool) -> None:
    """Measure 50 packets/s of each call from another process, with or without a thread of ours that never rests."""
    stop = threading.Event()

    def toil() -> None:
        n = 0
        while not stop.is_set():
            n = (n * 31 + 7) % 1_000_003

    def run(name: str, port: int, packets: Callable[[], int]) -> None:
        given = {"send": port, "calls": calls, "seconds": seconds}
        arguments = [sys.executable, __file__, *(f"--{name}={value}" for name, value in given.items())]
        child = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
        thread = threading.Thread(target=toil, daemon=True)
        if busy:
            stop.clear()
            thread.start()
        cpu = time.process_time()
        answer = child.communicate()[0].split()
        time.sleep(1.0)
        cpu = time.process_time() - cpu
        stop.set()
        sent, got = int(answer[0]), packets()
        load = "" if busy else f", {cpu / seconds * 100:.0f} % of a core"
        print(f"{name:38}{sent:10,} sent{got:10,} received{(1 - got / sent) * 100:8.2f} % lost{load}")

    sock = listen(Address("127.0.0.1", 0))
    sock.setblocking(True)
    sock.settimeout(0.2)
    bare, over = Bare(calls), threading.Event()

    def loop() -> None:
        while not over.is_set():
            try:
                size = sock.recv_into(bare.buffer)
            except TimeoutError:
                continue
            bare.take(size)

    reader = threading.Thread(target=loop, daemon=True)
    reader.start()
    run("recv_into, one by one, bare", sock.getsockname()[1], lambda: bare.packets)
    over.set()
    reader.join()
    sock.close()

    source = RtpSource(["127.0.0.1:0"], max_streams=calls)
    source.start()
    run("RtpSource", int(source.addresses[0].rpartition(":")[2]), lambda: source.counters()["accepted"])
    counts = source.counters()
    assert not counts["late"], counts
    source.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--send", type=int, metavar="PORT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.send:
        send(options.send, options.calls, options.seconds)
        return
    drains(options.calls, options.rounds)
    rate = 50 * options.calls
    print(f"\n{rate:,} packets/s for {options.seconds:g} s from another process, nothing else to do")
    live(options.calls, options.seconds, busy=False)
    print(f"\n{rate:,} packets/s for {options.seconds:g} s while another thread is busy in Python")
    live(options.calls, options.seconds, busy=True)
    source = RtpSource(["127.0.0.1:0"], max_streams=options.calls)
    print(f"\n{source.bytes_per_stream:,} bytes per G.711 call")


if __name__ == "__main__":
    main()
