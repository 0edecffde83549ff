"""What a supervisor hears: from the module, from a daemon, and from the command as systemd starts it."""

import os
import queue
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from patience import PATIENCE_S
from serving import ANYWHERE, ended, running, save_model, until
from signals import write_wav
from speech import SMALL_STAGES, talk, tiny_model

from streamcab.audio.ring import Bank
from streamcab.daemon.loop import Daemon
from streamcab.daemon.settings import Settings
from streamcab.feed import Subscriber
from streamcab.message import DaemonStatus
from streamcab.nn.checkpoint import Checkpoint
from streamcab.ops.notify import Supervisor, from_environment
from streamcab.source import Line


class Listener:
    """The supervisor's end: a datagram socket by path, or by an abstract name."""

    def __init__(self, address):
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.settimeout(60)

    def hear(self):
        """The next message, field by field."""
        return dict(field.split("=", 1) for field in self.socket.recv(4096).decode().split("\n"))

    def until(self, field):
        """All messages up to and including the first with this field."""
        heard = [self.hear()]
        while field not in heard[-1]:
            heard.append(self.hear())
        return heard


@pytest.fixture
def folder():
    # Not tmp_path: the name of a socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="notify") as name:
        yield Path(name)


@pytest.fixture(params=["path", "abstract"])
def listener(request, folder):
    here = Listener(f"{folder}/notify" if request.param == "path" else f"@streamcab/{folder.name}")
    with here.socket:
        yield here


@pytest.fixture(scope="module")
def checkpoint():
    return Checkpoint(tiny_model(3, stages=SMALL_STAGES), {"name": "tiny"}, "0123456789ab")


def test_the_words_of_sd_notify(listener):
    supervisor = Supervisor(listener.address, watched=True)
    supervisor.waiting("almost")
    assert listener.hear() == {"STATUS": "almost"}
    supervisor.ready("two\nlines")
    assert listener.hear() == {"READY": "1", "STATUS": "two lines", "WATCHDOG": "1"}
    supervisor.alive("well")
    assert listener.hear() == {"STATUS": "well", "WATCHDOG": "1"}
    supervisor.stopping()
    assert listener.hear()["STOPPING"] == "1"


@pytest.mark.parametrize(
    ("environment", "watched"),
    [
        ({}, False),
        ({"WATCHDOG_USEC": "0"}, False),
        ({"WATCHDOG_USEC": "10000000"}, True),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": str(os.getpid())}, True),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "1"}, False),
    ],
)
def test_pings_are_for_whom_the_watchdog_watches(listener, environment, watched):
    supervisor = from_environment({"NOTIFY_SOCKET": listener.address, **environment})
    supervisor.alive("well")
    assert ("WATCHDOG" in listener.hear()) == watched


@pytest.mark.parametrize("address", [None, "", "@", "vsock:2:1234", "relative"])
def test_without_a_socket_there_is_no_supervisor(address):
    assert from_environment({} if address is None else {"NOTIFY_SOCKET": address}) is None


def test_a_supervisor_that_is_gone_is_told_of_once_and_stops_nothing(folder, caplog):
    supervisor = Supervisor(f"{folder}/nobody", watched=True)
    for _ in range(3):
        supervisor.alive("well")
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    with Listener(f"{folder}/nobody").socket as late:
        supervisor.alive("well")
        assert late.recv(100)


def test_a_supervisor_that_does_not_read_stops_nothing(listener, caplog):
    supervisor = Supervisor(listener.address, watched=True)
    while not caplog.records:
        supervisor.alive("well")
    assert "cannot notify the supervisor" in caplog.text


class Recorder:
    """A supervisor that a test reads."""

    def __init__(self):
        self.said = queue.Queue()

    def waiting(self, text):
        self.said.put(("waiting", text))

    def ready(self, text):
        self.said.put(("ready", text))

    def alive(self, text):
        self.said.put(("alive", text))

    def stopping(self):
        self.said.put(("stopping", ""))

    def until(self, wanted, holding=""):
        """What has been said up to the first `wanted` whose text holds this."""
        said = [self.said.get(timeout=PATIENCE_S)]
        while said[-1][0] != wanted or holding not in said[-1][1]:
            said.append(self.said.get(timeout=PATIENCE_S))
        return said

    def rest(self):
        """What has been said and not been read."""
        return [self.said.get() for _ in range(self.said.qsize())]


class Hand:
    """A source that a test writes by hand."""

    live, done = True, False

    def __init__(self, *names):
        self.bank = Bank(8000, len(names) or 1, 60 * 8000)
        self.lines = [Line(n, self.bank, i, f"by hand: {n}") for i, n in enumerate(names)]
        self.told = False

    def start(self):
        pass

    def streams(self):
        new, self.told = [] if self.told else self.lines, True
        return new

    def release(self, line):
        pass

    def counters(self):
        return {}

    def close(self):
        pass


@contextmanager
def supervised(checkpoint, source, monkeypatch) -> Iterator[tuple[Daemon, Recorder, Subscriber]]:
    """A daemon that reports twenty times a second."""
    monkeypatch.setattr("streamcab.daemon.loop.STATUS_S", 0.05)
    recorder, stop = Recorder(), threading.Event()
    daemon = Daemon(checkpoint, [source], Settings(ANYWHERE, max_lag_s=9), supervisor=recorder)
    thread = threading.Thread(target=daemon.run, args=(stop, 20))
    with Subscriber(daemon.endpoint) as feed:
        thread.start()
        try:
            yield daemon, recorder, feed
        finally:
            stop.set()
            thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert recorder.until("stopping")


def statuses(feed, count):
    """Wait until the daemon has been round so often."""
    for _ in range(count):
        until(feed, lambda m: isinstance(m, DaemonStatus))


def test_ready_is_said_once_when_the_source_delivers(checkpoint, monkeypatch):
    hand = Hand("mic", "other")
    with supervised(checkpoint, hand, monkeypatch) as (_, recorder, feed):
        statuses(feed, 3)
        said = recorder.until("waiting") + recorder.rest()
        assert {what for what, _ in said} == {"waiting"}
        assert said[-1][1] == "2 streams, waiting for the first audio, model tiny 0123456789ab"
        hand.bank.write(0, talk(3), time.monotonic())
        said = recorder.until("alive")
        assert [what for what, _ in said if what != "waiting"] == ["ready", "alive"]
        assert "s behind, model tiny" in said[-1][1]


def test_a_socket_between_calls_is_ready(checkpoint, monkeypatch):
    with supervised(checkpoint, Hand(), monkeypatch) as (_, recorder, _feed):
        assert recorder.until("alive")[0] == ("ready", "0 streams, model tiny 0123456789ab")


def test_a_source_that_is_sought_is_no_reason_to_be_killed(checkpoint, monkeypatch):
    hand = Hand("mic")
    with supervised(checkpoint, hand, monkeypatch) as (_, recorder, _feed):
        hand.bank.write(0, talk(3), time.monotonic())
        recorder.until("ready")
        hand.lines[0].move("lost")
        assert "0 streams, mic lost: reconnecting, model" in recorder.until("alive", "lost")[-1][1]
        hand.lines[0].move("live")
        recorder.until("alive", "1 stream, ")


def test_audio_that_waits_and_is_not_answered_silences_the_pings(checkpoint, monkeypatch):
    hand = Hand("mic")
    with supervised(checkpoint, hand, monkeypatch) as (daemon, recorder, feed):
        hand.bank.write(0, talk(3), time.monotonic())
        recorder.until("alive")
        begin = daemon.engine.begin
        daemon.engine.begin = lambda *_: []
        hand.bank.write(0, talk(3), time.monotonic())
        feed.drain()
        statuses(feed, 3)
        recorder.rest()
        statuses(feed, 5)
        assert recorder.rest() == []
        daemon.engine.begin = begin
        recorder.until("alive")


@pytest.fixture(scope="module")
def audio(tmp_path_factory, checkpoint):
    folder = tmp_path_factory.mktemp("notify")
    save_model(checkpoint, folder)
    write_wav(folder / "talk.wav", talk(5, 16000), 16000)
    return folder


def words(audio, folder):
    """A daemon without a microphone that would run for ever."""
    looped = ("--file", audio / "talk.wav", "--loop", "--no-view")
    return (
        "listen",
        *looped,
        "--model",
        audio / "model.safetensors",
        "--endpoint",
        f"ipc://{folder}/feed.ipc",
    )


def listening(path):
    """Whether somebody accepts connections there."""
    with socket.socket(socket.AF_UNIX) as s:
        return s.connect_ex(str(path)) == 0


def test_the_command_tells_systemd_how_it_is_and_leaves_cleanly(audio, folder, listener):
    env = {"NOTIFY_SOCKET": listener.address, "WATCHDOG_USEC": "10000000"}
    with running(*words(audio, folder), env=env) as process:
        heard = listener.until("READY")
        assert not any("WATCHDOG" in m for m in heard[:-1])
        assert "model tiny" in heard[-1]["STATUS"]
        with Subscriber(f"ipc://{folder}/feed.ipc") as feed:
            assert listening(folder / "feed.ipc")
            for message in (listener.hear(), listener.hear()):
                assert message["WATCHDOG"] == "1"
                assert message["STATUS"].startswith("1 stream, ")
                assert "s behind, model tiny" in message["STATUS"]
            process.send_signal(signal.SIGTERM)
            until(feed, ended("talk"))
        assert "READY" not in {field for m in listener.until("STOPPING") for field in m}
        _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors
    assert b"Traceback" not in errors
    assert not listening(folder / "feed.ipc")


def test_a_hang_up_is_answered_in_the_log_and_ends_nothing(audio, folder):
    """What it takes is in test_daemon_reload.py."""
    here = Listener(f"{folder}/notify")
    env = {"NOTIFY_SOCKET": here.address, "WATCHDOG_USEC": "10000000"}
    with here.socket, running(*words(audio, folder), env=env) as process:
        here.until("READY")
        process.send_signal(signal.SIGHUP)
        line = process.stderr.readline().decode()
        assert "SIGHUP" in line
        assert "no reloadable setting has changed" in line
        here.until("WATCHDOG")
        process.send_signal(signal.SIGTERM)
        here.until("STOPPING")
        process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0


def test_a_model_that_cannot_be_loaded_is_never_ready(audio, folder):
    here = Listener(f"{folder}/notify")
    bad = folder / "bad.safetensors"
    bad.write_bytes(b"no model")
    with (
        here.socket,
        running(*words(audio, folder), "--model", bad, env={"NOTIFY_SOCKET": here.address}) as process,
    ):
        process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 1
        here.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            here.hear()
