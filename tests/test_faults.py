"""The fault matrix: what is done to a running daemon, what a user sees of it, and that it recovers by itself.

docs/reference/reliability.md holds the table, with what `pytest --measured` printed. Faults that belong to one part are
tested beside it: a pass that fails in test_inference_retry.py, sources that vanish in test_source_states.py and
test_source_microphone.py, files on a full disk in test_health_feed_log.py and test_nn_checkpoint.py.
"""

import contextlib
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
import soundfile
from patience import PATIENCE_S
from patient import (
    Patient,
    busy,
    calling,
    fresh,
    patient,
    recovery_ms,
    renice,
    small_model,
    wait_for,
)
from ports import free_port
from serving import STREAMCAB, Hand, run
from signals import write_wav
from small_disk import fill, mounted
from speech import talk

from streamcab.clock import MACHINE
from streamcab.daemon.loop import Daemon
from streamcab.daemon.settings import Settings
from streamcab.feed import Subscriber
from streamcab.health.metrics import Ledger
from streamcab.message import DaemonStatus, ModelInfo, Prediction, Status, decode
from streamcab.nn.checkpoint import load
from streamcab.view.board import Board


@pytest.fixture
def port():
    """For a daemon of this test alone."""
    return free_port(3)  # RTP, RTCP and the feed


def of_call(message):
    return isinstance(message, Prediction | Status) and message.stream.startswith("rtp-")


def lost_ms(feed):
    """What the daemon has lost since it began: on a busy machine, some of the call that came while it loaded."""
    return wait_for(feed, lambda m: isinstance(m, DaemonStatus)).lost_ms


# -- processes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rounds", [3, pytest.param(30, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_killed_at_any_moment_and_started_again(tmp_path, port, measured, rounds):
    draw, took, pause = random.Random(rounds), [], threading.Event()
    with Patient(tmp_path, port) as one, calling(port), Subscriber(one.endpoint) as feed:
        runs = {""}
        for k in range(rounds):
            began = time.monotonic()
            process = one.start()
            if k % 3 != 2:  # each third dies while it starts
                runs.add(wait_for(feed, lambda m: fresh(m) and m.run not in runs).run)
                took.append(1000 * (time.monotonic() - began))
            pause.wait(draw.uniform(0, 2.0))
            process.kill()
            process.wait()
        one.start()
        wait_for(feed, lambda m: fresh(m) and m.run not in runs)
        assert one.end() == 0
    measured("start to answer, worst, ms", max(took))
    measured("start to answer, median, ms", sorted(took)[len(took) // 2])


@pytest.mark.parametrize("seconds", [3.0, pytest.param(60.0, marks=pytest.mark.slow)])
def test_suspended_and_woken(tmp_path, port, measured, seconds):
    with patient(tmp_path, port, "--idle", "5", "--gate", "off") as (one, feed):
        before = wait_for(feed, fresh)
        one.signal(signal.SIGSTOP)
        threading.Event().wait(seconds)
        feed.drain()
        one.signal(signal.SIGCONT)
        took = recovery_ms(feed)
        after = wait_for(feed, lambda m: fresh(m) and m.sample > before.sample + seconds * m.rate)
    # The call goes on under its name, and what was not heard in time is said to be lost.
    assert (after.stream, after.run) == (before.stream, before.run)
    assert after.heard_s + after.lost_ms / 1000 == pytest.approx(after.sample / after.rate, abs=0.2)
    measured("woken to answer, ms", took)
    measured("lost, ms", after.lost_ms)


def test_starved_of_cpu(tmp_path, port, measured):
    with patient(tmp_path, port, calls=8) as (one, feed):
        renice(one.pid, 19)
        with busy(2 * (os.cpu_count() or 1)):
            threading.Event().wait(2.0)
            heard = feed.drain()
            status = wait_for(feed, lambda m: isinstance(m, DaemonStatus))
            assert one.process.poll() is None
        took = recovery_ms(feed)
        after = wait_for(feed, lambda m: isinstance(m, DaemonStatus))
    lags = [m.lag_ms for m in heard if isinstance(m, Prediction)]
    measured("longest lag meanwhile, ms", max(lags, default=0))
    measured("free to answer, ms", took)
    measured("lost in 8 calls, ms", after.lost_ms)
    assert after.streams == status.streams == 8


def test_out_of_file_descriptors(tmp_path, port, measured):
    with patient(tmp_path, port, "--max-lag", "9") as (one, feed):
        before = lost_ms(feed)
        have = len(os.listdir(f"/proc/{one.pid}/fd"))
        resource.prlimit(one.pid, resource.RLIMIT_NOFILE, (have + 4, 4096))
        to = ("127.0.0.1", port + 2)
        with contextlib.ExitStack() as stack:
            for _ in range(32):
                stack.enter_context(socket.create_connection(to, timeout=5))
            late = stack.enter_context(Subscriber(one.endpoint))
            assert late.recv(1.0) is None  # there is no room for it
            for _ in range(20):
                wait_for(feed, fresh)  # and those who were there notice nothing
        began = time.monotonic()
        resource.prlimit(one.pid, resource.RLIMIT_NOFILE, (4096, 4096))
        with Subscriber(one.endpoint) as later:
            wait_for(later, fresh)
        measured("room again to new subscriber, ms", 1000 * (time.monotonic() - began))
        lost = lost_ms(feed)
    assert lost == before


def test_ports_that_are_taken(tmp_path, port, measured):
    """One line that names the port, code 1; and as soon as it is free, the next start has it."""
    model = small_model(tmp_path)
    for kind, words in (
        (socket.SOCK_DGRAM, ("--rtp", f"127.0.0.1:{port}", "--endpoint", "tcp://127.0.0.1:*")),
        (socket.SOCK_STREAM, ("--rtp", "127.0.0.1:0", "--endpoint", f"tcp://127.0.0.1:{port}")),
    ):
        with socket.socket(socket.AF_INET, kind) as taken:
            taken.bind(("127.0.0.1", port))
            if kind == socket.SOCK_STREAM:
                taken.listen()
            done = run("listen", "--quiet", "--model", model, *words)
        assert done.returncode == 1
        assert f"127.0.0.1:{port}".encode() in done.stderr
        assert len(done.stderr.splitlines()) == 1
    with patient(tmp_path, port):
        pass


# -- the disk ------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    with mounted(tmp_path / "disk", 256) as folder:
        yield folder


@pytest.mark.parametrize("words", [("--json",), ("--no-view",)])
def test_a_full_disk_under_output_and_log(tmp_path, small_disk, measured, words):
    model = small_model(tmp_path)
    voice = write_wav(tmp_path / "voice.wav", talk(4), 8000)
    endpoint = f"ipc://{tmp_path}/feed"
    filler = small_disk / "filler"
    command = [
        *STREAMCAB,
        "listen",
        "--file",
        str(voice),
        "--loop",
        "--model",
        str(model),
        "--every",
        "0.025",
        "--max-lag",
        "9",
    ]
    with (
        (small_disk / "out").open("wb") as out,
        (small_disk / "log").open("wb") as log,
        subprocess.Popen([*command, *words, "--endpoint", endpoint], stdout=out, stderr=log) as process,
        Subscriber(endpoint) as feed,
    ):
        try:
            wait_for(feed, fresh)
            fill(filler)
            for _ in range(150):  # more than a page of output: the disk is full for it, too
                wait_for(feed, fresh, 10)
            full = (small_disk / "out").stat().st_size
            began = time.monotonic()
            filler.unlink()
            while (small_disk / "out").stat().st_size <= full:
                wait_for(feed, fresh, 10)
            measured("room again to output, ms", 1000 * (time.monotonic() - began))
            lost = wait_for(feed, lambda m: isinstance(m, DaemonStatus)).lost_ms
        finally:
            process.terminate()
            assert process.wait(PATIENCE_S) == 0
        lines = (small_disk / "out").read_text(encoding="utf-8").splitlines()
    assert lost == 0
    assert "Traceback" not in (small_disk / "log").read_text(errors="replace")
    if words == ("--json",):
        whole = [line for line in lines if line.startswith("{") and line.endswith("}")]
        assert len(lines) - len(whole) <= 2  # the one that was cut, and the end


@pytest.mark.slow
def test_a_disk_that_fills_under_everything_that_is_written_and_is_freed(tmp_path, port, measured):
    """Log, feed and recordings on one small disk; what a full one refuses is said, counted, and no line is torn."""
    with mounted(tmp_path / "small", 2048) as disk:
        words = ("--log-file", disk / "log", "--jsonl", disk / "feed.jsonl", "--jsonl-max-mb", "0.2")
        words += ("--jsonl-keep", "1", "--record", disk / "rec", "--record-min-free-gb", "0")
        out = ("--out", disk / "other.jsonl", "--max-mb", "0.2", "--keep", "1")
        with (
            patient(tmp_path, port, *map(str, words)) as (one, feed),
            subprocess.Popen(
                [*STREAMCAB, "log", one.endpoint, *map(str, out)], stderr=subprocess.PIPE
            ) as follower,
        ):
            try:
                wait_for(
                    feed, lambda m: list((disk / "rec").glob("*.flac")) and (disk / "other.jsonl").exists()
                )

                def refused(message):
                    fill(disk / "filler")  # what a rotation has freed, too
                    counted = message.counters if isinstance(message, DaemonStatus) else {}
                    return counted.get("jsonl-dropped", 0) > 50 and counted.get("record-dropped-ms", 0) > 5000

                wait_for(feed, refused)
                began = time.monotonic()
                (disk / "filler").unlink()
                wait_for(feed, lambda m: "recording goes on" in (disk / "log").read_text(encoding="utf-8"))
                measured("room again to recording, ms", 1000 * (time.monotonic() - began))
                lost = wait_for(feed, lambda m: isinstance(m, DaemonStatus)).lost_ms
            finally:
                follower.terminate()
                said = follower.communicate(timeout=PATIENCE_S)[1].decode()
        assert lost == 0
        for text in (said, (disk / "log").read_text(encoding="utf-8")):
            assert "No space left on device; lines dropped so far: " in text
            assert "is written again; lines missing so far: " in text
            assert "Traceback" not in text
        for file in disk.glob("*.jsonl*"):
            assert file.read_bytes().endswith(b"\n")
            for line in file.read_bytes().splitlines():
                decode(line)
        first, *_, last = sorted((disk / "rec").glob("*.flac"))
        assert first != last
        assert len(soundfile.read(first)[0])
        assert len(soundfile.read(last)[0])


def test_the_folder_of_log_and_jsonl_is_removed_and_returns(tmp_path, port, measured):
    """It is said on standard error, which nobody can remove, and counted; and both go on by themselves."""
    folder = tmp_path / "logs"
    folder.mkdir()
    words = ("--log-file", str(folder / "log"), "--jsonl", str(folder / "feed.jsonl"), "--max-lag", "9")
    with patient(tmp_path, port, *words) as (one, feed):
        before = lost_ms(feed)
        wait_for(feed, lambda m: (folder / "feed.jsonl").stat().st_size > 0)
        shutil.rmtree(folder)
        wait_for(feed, lambda m: isinstance(m, DaemonStatus) and m.counters.get("jsonl-dropped", 0))
        wait_for(feed, lambda m: b"lines dropped so far" in one.log.read_bytes())
        began = time.monotonic()
        folder.mkdir()
        wait_for(
            feed,
            lambda m: (
                (folder / "log").exists() and "written again" in (folder / "log").read_text(encoding="utf-8")
            ),
        )
        measured("folder back to both files, ms", 1000 * (time.monotonic() - began))
        (folder / "feed.jsonl").unlink()
        wait_for(feed, lambda m: (folder / "feed.jsonl").exists())
        lost = lost_ms(feed)
    said = one.log.read_text(encoding="utf-8")
    assert f"the log {folder / 'log'} cannot be written: No such file or directory" in said
    assert f"cannot write {folder / 'feed.jsonl'}: No such file or directory" in said
    assert (folder / "feed.jsonl").read_bytes().endswith(b"}\n")
    assert lost == before


# -- the model -----------------------------------------------------------------------------------------------


def test_a_checkpoint_that_changes_under_a_running_daemon(tmp_path, port, measured):
    with Patient(tmp_path, port) as one, calling(port), Subscriber(one.endpoint) as feed:
        kept = shutil.copy(one.model, tmp_path / "kept")
        whole, hash_before = Path(kept).read_bytes(), load(one.model).hash
        one.start()
        wait_for(feed, fresh)
        # In place, as a careless copy would: the daemon has read it once and for all.
        one.model.write_bytes(whole[: len(whole) // 2])
        for _ in range(20):
            assert wait_for(feed, fresh).model == hash_before
        one.signal(signal.SIGKILL)
        assert one.process.wait(PATIENCE_S) == -signal.SIGKILL
        assert one.start().wait(PATIENCE_S) == 1
        last = one.log.read_text(encoding="utf-8").splitlines()[-1]
        assert "Error" in last
        assert str(one.model) in last
        assert "damaged" in last
        Path(kept).replace(one.model)
        began, run_before = time.monotonic(), feed.run
        one.start()
        assert wait_for(feed, lambda m: fresh(m) and m.run != run_before).model == hash_before
        measured("start to answer, ms", 1000 * (time.monotonic() - began))
        assert one.end() == 0


def test_a_model_with_other_labels_after_a_restart(tmp_path, port):
    """Who listened before goes on listening: subscriber, view and metrics take the new labels as they come."""
    board, ledger = Board(), Ledger()
    with Patient(tmp_path, port) as one, calling(port), Subscriber(one.endpoint) as feed:
        one.start()
        board.add([wait_for(feed, lambda m: isinstance(m, ModelInfo)), wait_for(feed, fresh)], 0.0)
        one.signal(signal.SIGKILL)
        one.process.wait(PATIENCE_S)
        other = small_model(tmp_path / "other", ("fr", "de", "it", "es"))
        other.replace(one.model)
        one.start()
        info = wait_for(feed, lambda m: isinstance(m, ModelInfo) and len(m.labels) == 4)
        answer = wait_for(feed, lambda m: isinstance(m, Prediction) and fresh(m) and len(m.labels) == 4)
        assert one.end() == 0
    assert answer.labels == info.labels == ["fr", "de", "it", "es"]
    assert feed.restarts == 1
    board.add([info, answer], 1.0)
    assert board.streams[answer.stream].prediction == answer
    assert board.labels() == ["au", "uk", "us", "fr", "de", "it", "es"]
    ledger.take([info, answer], 1.0)


# -- the clock -----------------------------------------------------------------------------------------------


class Stepped:
    """A clock whose wall time is set back and forth."""

    def __init__(self):
        self.step = 0.0
        self.monotonic, self.sleep, self.wait = MACHINE.monotonic, MACHINE.sleep, MACHINE.wait

    def time(self):
        return MACHINE.time() + self.step


def test_the_wall_clock_steps_and_only_dates_change(tmp_path):
    checkpoint, clock, stop = load(small_model(tmp_path)), Stepped(), threading.Event()
    hand = Hand()
    daemon = Daemon(checkpoint, [hand], Settings("tcp://127.0.0.1:*", max_lag_s=9), clock=clock)
    thread = threading.Thread(target=daemon.run, args=(stop, 20))
    with Subscriber(daemon.endpoint) as feed:
        thread.start()
        hand.begin("mic", 0)
        voice, at = talk(60), 0
        try:
            for step in (0.0, 3600.0, -86_400.0, 0.0):
                clock.step = step
                found = None
                while found is None:
                    hand.bank.write(0, voice[at : at + 1600], time.monotonic())
                    at += 1600
                    assert at < len(voice), "no prediction bears the new date"
                    for message in (feed.recv(0.2), *feed.drain()):
                        if isinstance(message, Prediction) and abs(message.time - time.time() - step) < 5:
                            found = message
                        elif isinstance(message, DaemonStatus):
                            assert 0 <= message.uptime_s < 60
                            assert message.counters.get("skips", 0) == 0
                assert found.lag_ms < 60_000
                assert found.lost_ms == 0
        finally:
            stop.set()
            thread.join(PATIENCE_S)


STEPPED = """
import sys, time
real = time.time
def stepped():
    with open(sys.argv[0]) as offset:
        return real() + float(offset.read() or 0)
time.time, sys.argv = stepped, sys.argv[1:]
from streamcab.cli import main
main()
"""


YEAR = 365 * 86_400


def test_the_wall_clock_of_a_whole_process_steps(tmp_path, port):
    """libfaketime would do, if it did not move sleeps on the monotonic clock as well."""
    offset, recordings = tmp_path / "offset", tmp_path / "rec"
    offset.write_text("0")
    recordings.mkdir()
    (recordings / "before.20260101T000000.000Z.flac").touch()
    words = ("--record", str(recordings), "--jsonl", str(tmp_path / "feed.jsonl"), "--jsonl-max-mb", "0.05")
    words += ("--max-lag", "9")  # a machine that is busy loses nothing
    with Patient(tmp_path, port, *words) as one, calling(port), Subscriber(one.endpoint) as feed:
        one.command[1:3] = ["-c", STEPPED, str(offset)]
        one.start()
        before = wait_for(feed, fresh).lost_ms  # while it started
        for step in (3600, -86_400, -40 * YEAR, 0, 10 * YEAR):
            offset.write_text(str(step))
            for _ in range(10):
                stepped = wait_for(feed, dated(step))
                assert stepped.lag_ms < 60_000
                assert stepped.lost_ms == before
        wait_for(
            feed, lambda m: "the clock has jumped by +3650.0 days" in one.log.read_text(encoding="utf-8")
        )
        with calling(port, first=2):  # a file that begins in ten years
            wait_for(feed, lambda m: m.stream.endswith("-00000002"))
            wait_for(feed, lambda m: len(list(recordings.iterdir())) == 3)
        assert one.end() == 0
    log = one.log.read_text(encoding="utf-8")
    assert "stalled: " not in log.replace("-00000002: stalled", "")
    # The folder is tidied every 10 s: on a slow machine within one step, and again when the clock is right.
    doubts = ("the clock has jumped by ", "the clock is trusted: ")
    assert log.count("WARNING") == sum(log.count(f"WARNING {words}") for words in doubts)
    named = sorted(file.name.split(".")[-3][:4] for file in recordings.iterdir())
    assert named == ["2026", *(time.strftime("%Y", time.gmtime(time.time() + s)) for s in (0, 10 * YEAR))]
    assert all(soundfile.read(file)[0].size for file in recordings.glob("rtp-*"))
    for file in tmp_path.glob("feed.jsonl*"):
        assert all(decode(line) for line in file.read_bytes().splitlines())


def dated(step):
    return lambda m: isinstance(m, Prediction) and abs(m.time - time.time() - step) < 5
