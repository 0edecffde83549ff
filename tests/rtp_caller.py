"""A program that makes calls: `python rtp_caller.py HOST PORT CALLS [FIRST_SSRC]`, real time, until it is killed.

Mu-law noise in packets of 20 ms. What cannot be sent while the way is gone is gone, as with a real sender. Knows
nothing of streamcab.
"""

import contextlib
import itertools
import random
import socket
import struct
import sys
import threading
import time


def main(host: str, port: int, calls: int, first: int) -> None:
    socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(calls)]
    for sock in socks:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 4)
    payload = random.Random(1).randbytes(160)
    began, pause = time.monotonic(), threading.Event()
    for n in itertools.count():
        pause.wait(max(began + n * 0.02 - time.monotonic(), 0))
        for ssrc, sock in enumerate(socks, first):
            head = struct.pack(">BBHII", 0x80, 0, n % 65536, n * 160 % 2**32, ssrc)
            with contextlib.suppress(OSError):
                sock.sendto(head + payload, (host, port))


if __name__ == "__main__":
    host, port, calls, *rest = sys.argv[1:]
    main(host, int(port), int(calls), int(rest[0]) if rest else 1)
