"""Recordings of real rings and of the real command: what was heard is in the files, also after a kill."""

import os
import re
import resource
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
from patience import PATIENCE_S
from patience import until as eventually
from serving import here, run, running, save_model, serving, until
from signals import Samples, ramp, write_wav
from speech import SMALL_STAGES, talk, tiny_model

from streamcab.audio.ring import Bank
from streamcab.message import DaemonStatus
from streamcab.nn.checkpoint import Checkpoint
from streamcab.record.flac import BLOCK, FlacFile
from streamcab.record.recorder import Recorder
from streamcab.record.retention import Limits, Retention
from streamcab.source import Line

RATE = 8_000


@contextmanager
def recording(folder: Path, max_bytes: int = 10**9) -> Iterator[Recorder]:
    recorder = Recorder(Retention(folder, Limits(max_bytes, 86_400, 0)))
    try:
        yield recorder
    finally:
        recorder.close(20)
    assert not recorder._thread.is_alive()


def line(name: str = "mic", seconds: int = 10, rows: int = 1, rate: int = RATE) -> Line:
    return Line(name, Bank(rate, rows, seconds * rate), 0, "by hand")


def put(to: Line, samples: Samples) -> None:
    to.bank.write(to.row, samples, time.monotonic())


def files(folder: Path, name: str = "mic") -> list[Path]:
    return sorted(folder.glob(f"{name}.*.flac"))


def heard(folder: Path, name: str = "mic") -> list[np.ndarray]:
    """The samples of each file of a stream."""
    return [soundfile.read(file, dtype="int16")[0] for file in files(folder, name)]


def test_a_stream_is_in_its_file_sample_for_sample(tmp_path: Path) -> None:
    sound = ramp(5 * RATE + 123)
    mic = line()
    with recording(tmp_path) as recorder:
        recorder.begins("mic", mic)
        for n in range(0, len(sound), 3_000):
            put(mic, sound[n : n + 3_000])
        recorder.ends(mic)
    (there,) = heard(tmp_path)
    assert (there == np.rint(sound * 32768)).all()
    assert not any(recorder.counters().values())
    begun = time.mktime(time.strptime(files(tmp_path)[0].name[4:19], "%Y%m%dT%H%M%S")) - time.timezone
    assert abs(time.time() - len(sound) / RATE - begun) < 60


def test_a_row_may_be_used_again_at_once(tmp_path: Path) -> None:
    calls = line("call", rows=1)
    with recording(tmp_path) as recorder:
        for n in range(5):
            one = Line(f"call-{n}", calls.bank, 0, "by hand")
            calls.bank.reset(0)
            recorder.begins(one.name, one)
            put(one, np.full(2_000, n / 10, np.float32))
            recorder.ends(one)
    for n in range(5):
        (there,) = heard(tmp_path, f"call-{n}")
        assert (there == round(n / 10 * 32768)).all()
        assert len(there) == 2_000


def test_a_stream_that_waited_is_recorded_from_the_oldest_sample_of_its_ring(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    sound = ramp(17 * RATE)
    call = line()
    put(call, sound[: 12 * RATE])
    with recording(tmp_path) as recorder:
        recorder.begins("mic", call)
        put(call, sound[12 * RATE :])  # before the recorder's thread has looked
        recorder.ends(call)
    (there,) = heard(tmp_path)
    assert (there == np.rint(sound[2 * RATE :] * 32768)).all()
    assert recorder.counters()["record-dropped-ms"] == 2_000
    assert (
        "mic was recorded: 15.0 s, of which 0.0 s never arrived and are silent; 2.00 s could" in caplog.text
    )


def test_gaps_are_silent_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    mic = line()
    with recording(tmp_path) as recorder:
        recorder.begins("mic", mic)
        put(mic, np.full(RATE, 0.25, np.float32))
        mic.bank.skip(0, 2 * RATE, time.monotonic())
        put(mic, np.full(RATE, 0.5, np.float32))
        recorder.ends(mic)
    (there,) = heard(tmp_path)
    assert (there[:RATE] == 8192).all()
    assert (there[RATE : 3 * RATE] == 0).all()
    assert (there[3 * RATE :] == 16384).all()
    assert len(there) == 4 * RATE
    assert recorder.counters()["record-missing-ms"] == 2_000
    assert "mic was recorded: 4.0 s, of which 2.0 s never arrived and are silent" in caplog.text


def test_a_long_gap_ends_the_file(tmp_path: Path) -> None:
    mic = line()
    with recording(tmp_path) as recorder:
        recorder.begins("mic", mic)
        # One turn of the recorder: with the file there, all of it has been read.
        put(mic, np.full(RATE, 0.25, np.float32))
        eventually(lambda: bool(files(tmp_path)))
        later = time.monotonic() + 110
        mic.bank.skip(0, 100 * RATE, later - 10)
        mic.bank.write(0, np.full(10 * RATE, 0.5, np.float32), later)
        eventually(lambda: len(files(tmp_path)) == 2)
        recorder.ends(mic)
    first, second = heard(tmp_path)
    assert (first == 8192).all()
    # Of the gap, what the ring still held may be in it, as silence.
    assert (second[-10 * RATE :] == 16384).all()
    assert not second[: -10 * RATE].any()
    assert recorder.counters().get("record-dropped-ms", 0) == 0


def test_a_slow_disk_costs_audio_that_is_counted_and_never_holds_the_inference_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, writes, write = threading.Event(), threading.Event(), FlacFile.write

    def slow(self: FlacFile, samples: Samples) -> None:
        writes.set()
        assert held.wait(PATIENCE_S)
        write(self, samples)

    monkeypatch.setattr(FlacFile, "write", slow)
    mic, other = line(seconds=4), line("other")
    with recording(tmp_path) as recorder:
        recorder.begins("mic", mic)
        recorder.begins("other", other)
        put(mic, np.full(2 * RATE, 0.1, np.float32))
        assert writes.wait(PATIENCE_S)
        # The writer hangs in the disk. All of this returns nonetheless:
        for n in range(20):
            put(mic, np.full(RATE, n / 100, np.float32))
            put(other, np.full(100, 0.1, np.float32))
        recorder.begins("third", line("third"))
        recorder.ends(other)
        recorder.counters()
        held.set()
        eventually(lambda: recorder.counters().get("record-dropped-ms", 0) > 0)
        recorder.ends(mic)
    assert 10_000 <= recorder.counters()["record-dropped-ms"] <= 20_000
    assert sum(map(len, heard(tmp_path, "other"))) == 2_000


def test_what_waits_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamcab.record.recorder.TAILS", 4 * RATE)
    monkeypatch.setattr("streamcab.record.recorder.TURN_S", 60.0)
    with recording(tmp_path) as recorder:
        for n in range(3):
            call = line(f"call-{n}")
            recorder.begins(call.name, call)
            put(call, np.full(RATE // 2, 0.1, np.float32))
            recorder.ends(call)
        assert recorder._waiting <= 4 * RATE
        assert recorder.counters()["record-dropped-ms"] == 500


def size(file: Path) -> int:
    """0 if the recorder has deleted it since it was seen."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def test_all_recordings_together_stay_below_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamcab.record.recorder.SEGMENT_S", 1.0)
    limit = 400_000
    mic, rng, largest = line(), np.random.default_rng(0), 0
    with recording(tmp_path, limit) as recorder:
        recorder.begins("mic", mic)
        for _ in range(12):
            before = int(mic.bank.written[0])
            put(mic, rng.uniform(-1, 1, 4 * RATE).astype(np.float32))  # FLAC cannot make noise smaller
            eventually(lambda: recorder._tracks[mic].position >= before + 4 * RATE)  # noqa: B023
            largest = max(largest, sum(size(file) for file in files(tmp_path)))
        recorder.ends(mic)
    assert 0.5 * limit < largest <= 1.02 * limit
    assert recorder.counters()["record-deleted"] >= 10


def test_a_disk_that_is_full_pauses_it_and_it_goes_on_when_there_is_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamcab.record.recorder.TIDY_S", 0.2)
    mic, stop = line(), threading.Event()

    def speak() -> None:
        while not stop.wait(0.05):
            put(mic, np.random.default_rng(0).uniform(-1, 1, RATE // 2).astype(np.float32))

    thread = threading.Thread(target=speak)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with recording(tmp_path) as recorder:
        recorder.begins("mic", mic)
        thread.start()
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
            eventually(lambda: recorder.counters().get("record-failed", 0) > 0)
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            count = len(files(tmp_path))
            eventually(lambda: len(files(tmp_path)) > count or recorder._open != {})
            position = recorder._tracks[mic].samples
            eventually(lambda: recorder._tracks[mic].samples > position)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            stop.set()
            thread.join()
        recorder.ends(mic)
    assert "recording pauses: " in caplog.text
    assert "recording goes on" in caplog.text
    kept = [len(samples) for samples in heard(tmp_path)]
    assert all(kept)
    # What the disk refused, what libsndfile still had in its hands then, and what came meanwhile: all of it.
    lost_ms = recorder.counters()["record-dropped-ms"]
    assert sum(kept) / RATE * 1000 + lost_ms == pytest.approx(int(mic.bank.written[0]) / RATE * 1000, abs=5)


def test_no_more_files_are_open_than_the_system_lets_the_rest_live_with(tmp_path: Path) -> None:
    with recording(tmp_path) as recorder:
        recorder._most = 2
        calls = [line(f"call-{n}") for n in range(3)]
        for call in calls:
            recorder.begins(call.name, call)
            put(call, np.full(RATE, 0.1, np.float32))
        eventually(lambda: recorder.counters().get("record-refused", 0) == 1)
        for call in calls:
            recorder.ends(call)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_rate_that_flac_does_not_know_is_refused_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mic = line(rate=768_000, seconds=2)
    with recording(tmp_path) as recorder:
        recorder.begins("mic", mic)
        put(mic, np.zeros(1000, np.float32))
        recorder.ends(mic)
    assert "mic is not recorded: " in caplog.text
    assert recorder.counters()["record-refused"] == 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorder")
    save_model(Checkpoint(tiny_model(3, stages=SMALL_STAGES), {"name": "tiny"}), folder)
    write_wav(folder / "mic.wav", talk(5), RATE)
    return folder


def words(folder: Path, into: Path, *more: str) -> tuple[str | Path, ...]:
    model = ("--model", folder / "model.safetensors", "--endpoint", "tcp://127.0.0.1:*", "--json")
    return ("listen", "--file", folder / "mic.wav", *model, "--record", into, *more)


def test_the_command_records_what_it_heard(folder: Path, tmp_path: Path) -> None:
    done = run(*words(folder, tmp_path / "out", "--log-level", "info"))
    assert done.returncode == 0, done.stderr
    (there,) = heard(tmp_path / "out")
    given, _ = soundfile.read(folder / "mic.wav", dtype="int16")
    assert (there == given).all()
    assert re.search(rb"mic was recorded: 5\.0 s, of which 0\.0 s", done.stderr)


def test_a_kill_leaves_files_that_can_be_read(folder: Path, tmp_path: Path) -> None:
    with running(*words(folder, tmp_path / "out", "--loop")) as process:
        eventually(lambda: any(f.stat().st_size > 30_000 for f in files(tmp_path / "out")))
        process.send_signal(signal.SIGKILL)
        process.wait()
    (there,) = heard(tmp_path / "out")
    given, _ = soundfile.read(folder / "mic.wav", dtype="int16")
    assert len(there) >= 2 * BLOCK
    assert (there == np.resize(given, len(there))).all()


def test_the_feed_tells_the_counters(folder: Path, tmp_path: Path) -> None:
    from streamcab.nn.checkpoint import load
    from streamcab.source.file import AudioFile

    with recording(tmp_path) as recorder:
        source = AudioFile(folder / "mic.wav", "live")
        with serving(load(folder / "model.safetensors"), [source], recorder=recorder) as feed:
            told = until(feed, lambda m: isinstance(m, DaemonStatus))[-1]
    assert "record-deleted" in told.counters


def test_without_being_asked_nothing_is_written(folder: Path, tmp_path: Path) -> None:
    model = ("--model", folder / "model.safetensors", "--endpoint", "tcp://127.0.0.1:*")
    env = {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    before = set(os.listdir(folder))
    done = run("listen", "--file", folder / "mic.wav", "--fast", *model, env=env)
    assert done.returncode == 0, done.stderr
    assert [f for f in tmp_path.rglob("*") if f.suffix in (".flac", ".wav", ".raw")] == []
    assert set(os.listdir(folder)) == before


def told(done: object, code: int, text: str) -> None:
    assert done.returncode == code  # type: ignore[attr-defined]
    assert text in done.stderr.decode()  # type: ignore[attr-defined]


def test_wrong_words(folder: Path, tmp_path: Path) -> None:
    told(here(*words(folder, tmp_path, "--fast")), 2, "--record and --fast")
    told(here(*words(folder, tmp_path, "--record-min-free-gb", "999999")), 1, "not recorded: ")
    told(here(*words(folder, tmp_path, "--record-max-gb", "0")), 2, "--record-max-gb")
