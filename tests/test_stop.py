"""SIGTERM under load: each call is told its end and is whole on the disk if recorded, the sockets are free, code 0."""

import ctypes
import json
import os
import re
import signal
import socket
import threading
import time
from dataclasses import asdict
from pathlib import Path

import pytest
import soundfile
from patience import PATIENCE_S
from ports import free_port

from streamcab.bench.process import child
from streamcab.bench.traffic import Traffic
from streamcab.feed import Subscriber
from streamcab.message import DaemonStatus, Prediction

HANG_S = PATIENCE_S
"""Tells a daemon that hangs from one that works; what was measured: docs/how-to/operations.md."""
ADMITTED_S = 30.0
"""How long calls are let in; on a busy machine some never are."""


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("calls", [50, pytest.param(1000, marks=pytest.mark.slow)])
def test_every_call_is_told_its_end(calls: int, recorded: bool, tmp_path: Path) -> None:
    port, log = free_port(3), tmp_path / "daemon.log"
    endpoint = f"tcp://127.0.0.1:{port + 2}"
    words = ["--rtp", f"127.0.0.1:{port}", "--endpoint", endpoint, "--quiet", "--no-attention"]
    words += ["--record", str(tmp_path / "calls"), "--record-min-free-gb", "0"] if recorded else []
    words += ["--log-level", "info"]
    with (
        child("streamcab", "listen", *words, log=log) as daemon,
        child("streamcab.bench.sender", log=tmp_path / "sender.log", talk=True) as sender,
        Subscriber(endpoint) as feed,
    ):
        assert sender.stdin is not None
        assert sender.stdout is not None
        orders = {"traffic": asdict(Traffic(calls, 120.0)), "host": "127.0.0.1", "port": port}
        print(json.dumps(orders), file=sender.stdin)
        while not isinstance(feed.recv(HANG_S), DaemonStatus):
            assert daemon.poll() is None, log.read_text(encoding="utf-8")
        assert sender.stdout.readline()
        print(json.dumps({"start": time.monotonic()}), file=sender.stdin)
        # Those that a busy machine refuses never were calls.
        streams: set[str] = set()
        until = time.monotonic() + ADMITTED_S
        while len(streams) < calls and time.monotonic() < until:
            streams |= {m.stream for m in feed.drain() if isinstance(m, Prediction)}
        assert len(streams) > min(calls, 100) / 2
        began = time.monotonic()
        daemon.send_signal(signal.SIGTERM)
        over = threading.Event()
        threading.Thread(target=lambda: (daemon.wait(HANG_S), over.set())).start()
        ended: dict[str, float] = {}
        while (message := feed.recv(0.5)) is not None or not over.is_set():
            if isinstance(message, Prediction) and message.state == "ended":
                ended[message.stream] = message.sample / message.rate
            assert time.monotonic() - began < 2 * HANG_S
        print(f"{len(ended)} calls were told their end; it took less than {time.monotonic() - began:.1f} s")  # noqa: T201
        assert daemon.returncode == 0, log.read_text(encoding="utf-8")
        assert feed.missed == 0
        assert streams <= ended.keys()
        assert "Traceback" not in log.read_text(encoding="utf-8")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", port))
    if recorded:
        # A call that a busy machine lets wait is recorded from the oldest sample that its ring holds then.
        said = re.findall(r"([\w.-]+) was recorded: .*; ([\d.]+) s could not be kept", log.read_text("utf-8"))
        dropped_s = {stream: float(seconds) for stream, seconds in said}
        for stream, seconds in ended.items():
            (file,) = (tmp_path / "calls").glob(f"{stream}.*.flac")
            kept_s = soundfile.info(file).duration + dropped_s.get(stream, 0.0)
            assert kept_s == pytest.approx(seconds, abs=0.02)


@pytest.mark.parametrize("ends", [signal.SIGTERM, signal.SIGINT])
def test_signals_while_it_is_loading(ends: signal.Signals, tmp_path: Path) -> None:
    """SIGHUP is no end, the others are an orderly one. Somebody who writes into the salt says when."""
    salt = tmp_path / "salt"
    os.mkfifo(salt)
    words = ["--rtp", "127.0.0.1:0", "--endpoint", "tcp://127.0.0.1:*", "--quiet"]
    words += ["--hash-names", "--hash-salt", str(salt)]
    log = tmp_path / "log"
    with child("streamcab", "listen", *words, log=log) as daemon:
        with salt.open("wb") as pen:  # opens when it is opened to be read
            for number in (signal.SIGHUP, signal.SIGHUP, ends, ends):
                daemon.send_signal(number)
            pen.write(b"0123456789abcdef")
        assert daemon.wait(HANG_S) == 0, log.read_text(encoding="utf-8")
    assert "Traceback" not in log.read_text(encoding="utf-8")


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "tgkill"), reason="no tgkill() in this C library")
def test_a_signal_that_another_thread_takes_ends_it_too(tmp_path: Path) -> None:
    """The kernel gives SIGTERM to any thread where the process was stopped, as systemd does to a suspended service."""
    port, log = free_port(3), tmp_path / "log"
    endpoint = f"tcp://127.0.0.1:{port + 2}"
    words = ["--rtp", f"127.0.0.1:{port}", "--endpoint", endpoint, "--quiet"]
    with child("streamcab", "listen", *words, log=log) as daemon, Subscriber(endpoint) as feed:
        while not isinstance(feed.recv(HANG_S), DaemonStatus):
            assert daemon.poll() is None, log.read_text(encoding="utf-8")
        for task in Path(f"/proc/{daemon.pid}/task").iterdir():
            blocked = int(re.findall(r"SigBlk:\s*(\w+)", (task / "status").read_text())[0], 16)
            if int(task.name) != daemon.pid and not blocked >> signal.SIGTERM - 1 & 1:
                assert ctypes.CDLL(None).tgkill(daemon.pid, int(task.name), signal.SIGTERM) == 0
                break
        assert daemon.wait(HANG_S) == 0, log.read_text(encoding="utf-8")
