"""`listen --workers`: several processes that are one daemon to whoever calls, listens, watches or stops it."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from patience import PATIENCE_S
from patience import until as until_true
from ports import free_port
from rtp_peer import Talker, bye, sdes, sending
from serving import here, running, save_model
from speech import SMALL_STAGES, talk, tiny_model
from test_ops_notify import Listener

from streamcab.bench.speech import encode
from streamcab.classifier import Classifier
from streamcab.feed import Subscriber
from streamcab.message import AnyMessage, DaemonStatus, ModelInfo, Prediction, Status
from streamcab.nn.checkpoint import Checkpoint
from streamcab.rtp.codec import decode_g711
from streamcab.store.read import Reader

EXACT = 1e-5
SSRCS = (0x10, 0x11, 0x12, 0x13, 0x14, 0x15)
"""Of calls that come to both of two workers."""
PACKET = 160
CHECKPOINT = Checkpoint(tiny_model(3, stages=SMALL_STAGES), {"name": "tiny"})


class Pool:
    """A running pool of two workers."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes], port: int) -> None:
        self.folder, self.process, self.port = folder, process, port
        self.endpoint = f"ipc://{folder}/feed.ipc"
        self.toml = folder / "set.toml"

    @property
    def log(self) -> str:
        file = self.folder / "log"
        return file.read_text(encoding="utf-8") if file.exists() else ""

    @property
    def workers(self) -> list[int]:
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        threads = path.parents[1].iterdir()
        children = [int(pid) for thread in threads for pid in (thread / "children").read_text().split()]
        return sorted(p for p in children if b"cli.worker" in Path(f"/proc/{p}/cmdline").read_bytes())


@contextmanager
def pooled(folder: Path, *words: str | Path, rtp: bool = True, **env: str) -> Iterator[Pool]:
    """`streamcab listen --workers 2`, as soon as it serves; ended in order with the context."""
    port, model = free_port(2), save_model(CHECKPOINT, folder)
    (folder / "set.toml").touch()
    fixed: tuple[str | Path, ...] = ("--rtp", f"127.0.0.1:{port}") if rtp else ()
    fixed += ("--workers", "2", "--model", model, "--max-streams", "64")
    fixed += ("--endpoint", f"ipc://{folder}/feed.ipc", "--log-file", folder / "log", "--quiet")
    fixed += ("--config", folder / "set.toml", "--every", "0.1")
    with running("listen", *fixed, *words, env={"TMPDIR": str(folder), **env}) as process:
        pool = Pool(folder, process, port)
        with Subscriber(pool.endpoint) as feed:
            until_true(lambda: isinstance(feed.recv(0.1), DaemonStatus) or process.poll() is not None)
        assert process.poll() is None, process.stderr.read()  # type: ignore[union-attr]
        yield pool
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=PATIENCE_S)
            assert process.returncode == 0, pool.log
            assert not list(folder.glob("streamcab-*")), "the pool leaves its folder behind"


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Short: the name of a socket has at most 107 bytes.
    return tmp_path_factory.mktemp("w")


class Calling:
    """Calls in real time until `stop`: mu-law (n,) for each SSRC, over and over, from a port each."""

    def __init__(self, port: int, said: dict[int, NDArray[np.uint8]], rounds: int | None = None) -> None:
        self._port, self._said, self._rounds = port, said, rounds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._talk)

    def __enter__(self) -> "Calling":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._rounds is None:
            self._over.set()
        self._thread.join()

    def _talk(self) -> None:
        talkers = {ssrc: Talker(ssrc=ssrc) for ssrc in self._said}
        length = min(map(len, self._said.values())) // PACKET
        began = time.monotonic()
        with sending() as first, sending() as second:
            for n in range(10**9):
                if self._over.wait(max(began + n * 0.02 - time.monotonic(), 0)):
                    return
                if self._rounds is not None and n == self._rounds * length:
                    return
                for ssrc, talker in talkers.items():
                    at = n % length * PACKET
                    sock = (first, second)[ssrc % 2]
                    sock.sendto(
                        talker.say(self._said[ssrc][at : at + PACKET].tobytes())[0], ("127.0.0.1", self._port)
                    )


def speech(seconds: float, ssrcs: Sequence[int] = SSRCS) -> dict[int, NDArray[np.uint8]]:
    """Mu-law of a talk for each call."""
    return {ssrc: encode("pcmu", talk(seconds, 8000, ssrc)) for ssrc in ssrcs}


def names(messages: Sequence[AnyMessage]) -> set[str]:
    return {m.stream for m in messages if isinstance(m, Status)}


def hear(feed: Subscriber, heard: list[AnyMessage], wanted) -> None:
    """Take messages until `wanted` holds of all that were heard."""

    def happened() -> bool:
        first = feed.recv(0.2)
        heard.extend([first] if first else [])
        heard.extend(feed.drain())
        return bool(wanted())

    until_true(happened)


def test_answers_are_those_of_one_process_and_goodbyes_on_the_port_of_rtcp_are_heard(folder: Path) -> None:
    said = speech(4.0)
    classifier = Classifier(CHECKPOINT)
    # On a busy machine nothing is skipped: the rings hold all of it.
    with pooled(folder, "--max-lag", "9") as pool, Subscriber(pool.endpoint) as feed:
        heard: list[AnyMessage] = []
        with Calling(pool.port, said, rounds=1):
            hear(feed, heard, lambda: len(names(heard)) == len(said))
        with sending() as sock:
            for ssrc in said:
                sock.sendto(bye(ssrc), ("127.0.0.1", pool.port + 1))
        ends: dict[str, Prediction] = {}

        def ended() -> bool:
            ends.update({m.stream: m for m in heard if isinstance(m, Prediction) and m.state == "ended"})
            return len(ends) == len(said)

        hear(feed, heard, ended)
        assert feed.missed == 0
        assert {m.detail for m in heard if isinstance(m, Status) and m.state == "ended"} == {
            "the sender said goodbye"
        }
        assert len({m.run for m in heard}) == 1
    for stream, last in ends.items():
        mu_law = said[int(stream.rpartition("-")[2], 16)]
        offline = classifier.classify(decode_g711("PCMU", mu_law).astype(np.float32) / 32768, 8000)
        assert last.lost_ms == 0
        assert last.sample == len(mu_law) // PACKET * PACKET
        assert last.probs == pytest.approx(offline.probs, abs=EXACT)


def test_a_worker_that_is_killed_is_replaced_and_its_calls_are_said_to_begin_anew(folder: Path) -> None:
    store = folder / "calls.db"
    with (
        pooled(folder, "--store", store) as pool,
        Subscriber(pool.endpoint) as feed,
        Calling(pool.port, speech(5.0)),
    ):
        heard: list[AnyMessage] = []

        def answered(since: int = 0) -> set[str]:
            return {m.stream for m in heard[since:] if isinstance(m, Prediction) and m.state != "ended"}

        hear(feed, heard, lambda: len(answered()) == len(SSRCS))
        first, second = pool.workers
        before = len(heard)
        os.kill(first, signal.SIGKILL)
        hear(feed, heard, lambda: any(isinstance(m, DaemonStatus) and m.detail for m in heard[before:]))
        told = next(m for m in heard[before:] if isinstance(m, DaemonStatus) and m.detail)
        assert told.detail.startswith(
            "worker 1 was started again: killed by SIGKILL; calls that began anew: "
        )
        assert told.counters["worker-restarts"] == 1
        lost = {m.stream for m in heard if isinstance(m, Status) and m.state == "ended"}
        assert 0 < len(lost) < len(SSRCS)
        assert int(told.detail.rpartition(" ")[2]) == len(lost)
        for kind in (Status, Prediction):
            assert {m.stream for m in heard[before:] if isinstance(m, kind) and m.state == "ended"} == lost
        assert {m.detail for m in heard if isinstance(m, Status) and m.state == "ended"} == {
            "its worker ended (killed by SIGKILL); if the call goes on, it begins anew"
        }
        again = len(heard)
        hear(feed, heard, lambda: answered(again) == answered())
        # Those of the other worker went on, those that were lost began anew.
        begun = [m.stream for m in heard if isinstance(m, ModelInfo)]
        assert {name for name in begun if begun.count(name) == 2} == lost
        assert len(pool.workers) == 2
        assert second in pool.workers
        assert {m.run for m in heard} == {told.run}
        accepted = [m.counters.get("accepted", 0) for m in heard if isinstance(m, DaemonStatus)]
        assert accepted == sorted(accepted)
        # Who comes now hears the newest of every call, once.
        with Subscriber(pool.endpoint) as late:
            late_heard: list[AnyMessage] = []
            hear(
                late,
                late_heard,
                lambda: {m.stream for m in late_heard if isinstance(m, ModelInfo)} == set(begun),
            )
            assert late.missed == 0
    with Reader(str(store)) as kept:
        calls = list(kept.every())
        assert len(calls) == len(SSRCS) + len(lost)
        assert {c.state for c in calls} == {"ended"}
        assert {c.name for c in calls if "its worker ended" in c.detail} == lost
        assert len(kept.models()) == 1


def test_settings_reach_every_worker_once_and_names_are_unique_across_them(folder: Path) -> None:
    (folder / "names.csv").write_text("*,*,*,desk\n")
    with (
        pooled(folder, "--name-map", folder / "names.csv") as pool,
        Subscriber(pool.endpoint) as feed,
        Calling(pool.port, speech(5.0)),
    ):
        heard: list[AnyMessage] = []
        hear(feed, heard, lambda: len(names(heard)) == len(SSRCS))
        assert "desk" in names(heard)
        assert {name.partition("-")[0] for name in names(heard)} == {"desk"}
        assert feed.missed == 0
        pool.toml.write_text('allow = ["192.0.2.0/24"]\nidle = 1.0\nwindow = 5.0\n')
        pool.process.send_signal(signal.SIGHUP)
        hear(
            feed,
            heard,
            lambda: (
                len({m.stream for m in heard if isinstance(m, Status) and m.state == "ended"}) == len(SSRCS)
            ),
        )
        (answer,) = [line for line in pool.log.splitlines() if "SIGHUP" in line]
        assert answer.endswith("SIGHUP: applied: --allow, --idle; restart needed for: --window")


def test_systemd_sees_one_service_and_names_from_rtcp_reach_every_worker(folder: Path) -> None:
    listener = Listener(str(folder / "notify"))
    with pooled(folder, NOTIFY_SOCKET=listener.address, WATCHDOG_USEC="10000000") as pool:
        told = listener.until("READY")
        told += listener.until("WATCHDOG")
        assert sum("READY" in fields for fields in told) == 1
        assert told[-1]["STATUS"] == "0 streams in 2 of 2 workers"
        with Subscriber(pool.endpoint) as feed, sending() as sock:
            for ssrc in SSRCS:
                sock.sendto(sdes(ssrc, b"phone-%d" % ssrc), ("127.0.0.1", pool.port + 1))
            heard: list[AnyMessage] = []
            with Calling(pool.port, speech(2.0)):
                hear(feed, heard, lambda: len(names(heard)) == len(SSRCS))
            assert names(heard) == {f"phone-{ssrc}" for ssrc in SSRCS}
        pool.process.send_signal(signal.SIGTERM)
        listener.until("STOPPING")
    listener.socket.close()


def test_workers_end_with_a_pool_that_is_killed(folder: Path) -> None:
    with pooled(folder) as pool:
        workers = pool.workers
        pool.process.kill()
        pool.process.wait()
        until_true(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
        assert not list(folder.glob("streamcab-*"))


@pytest.mark.slow  # a worker counts as hung after a minute
def test_a_worker_that_hangs_is_replaced(folder: Path) -> None:
    with pooled(folder) as pool, Subscriber(pool.endpoint) as feed:
        os.kill(pool.workers[0], signal.SIGSTOP)
        heard: list[AnyMessage] = []
        hear(
            feed,
            heard,
            lambda: any(isinstance(m, DaemonStatus) and "was started again" in m.detail for m in heard),
        )
        until_true(lambda: len(pool.workers) == 2)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (
            ("--workers", "none", "--rtp", "127.0.0.1:0"),
            2,
            "--workers is 'none'; it can be auto, or 1 to 1024",
        ),
        (("--workers", "2", "--file", "x.wav"), 2, "--workers shares out calls: give --rtp, --media or"),
        (
            ("--workers", "2", "--rtp", "127.0.0.1:0", "--file", "x.wav"),
            2,
            "run another daemon for the other sources",
        ),
        (("--workers", "2", "--rtp", "239.69.1.1:0"), 2, "239.69.1.1:0 is a multicast group"),
        (("--workers", "2", "--rtp", "127.0.0.1:0", "--model", "no.safetensors"), 1, "no.safetensors"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(words: Sequence[str], code: int, said: str) -> None:
    done = here("listen", "--quiet", "--endpoint", "tcp://127.0.0.1:*", *words)
    assert done.returncode == code
    assert said in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()
