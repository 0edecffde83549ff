"""Pipes: what programs really write into them, cut anywhere, stopped any time."""

import io
import os
import pty
import shutil
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from patience import until
from signals import drain, noise, peak_hz, ramp, syllables

from streamcab.errors import AudioError, ConfigError, SourceError
from streamcab.source.file import read_audio
from streamcab.source.pcm import Format, decode, read_wav_header
from streamcab.source.single import ROOM
from streamcab.source.stdin import Stdin


class Pieces(io.RawIOBase):
    """Bytes that come in pieces of these sizes, over and over."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self._data = io.BytesIO(data)
        self._sizes = sizes
        self._turn = 0

    def read(self, limit: int = -1) -> bytes:
        self._turn += 1
        size = self._sizes[self._turn % len(self._sizes)]
        return self._data.read(min(size, limit))


def heard(source: Stdin) -> np.ndarray:
    source.start()
    samples = drain(source.line)
    source.close()
    return samples


@pytest.fixture
def pipe() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """A pipe: its end to read from, and its end to write to, unbuffered."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as r, os.fdopen(writing, "wb", buffering=0) as w:
        yield r, w


@given(
    st.lists(st.integers(1, 700), min_size=1, max_size=8),
    st.sampled_from(["s16le", "f32le"]),
    st.integers(1, 3),
)
def test_raw_samples_are_the_same_however_they_are_cut(sizes: list[int], format: str, channels: int) -> None:
    frames = np.random.default_rng(1).integers(-(2**15), 2**15, (500, channels)).astype("<i2")
    sound = frames.astype(np.float32) / 2**15
    data = frames.tobytes() if format == "s16le" else sound.astype("<f4").tobytes()
    got = heard(Stdin(format, 8000, channels, str(channels), file=Pieces(data, sizes)))  # type: ignore[arg-type]
    np.testing.assert_array_equal(got, sound[:, -1])


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("format", ["WAV", "WAVEX"])
@pytest.mark.parametrize("channels", [1, 2])
def test_wav_streams_are_what_libsndfile_makes_of_the_file(
    tmp_path: Path, subtype: str, format: str, channels: int
) -> None:
    sound = np.stack([syllables(1, 11025, seed=s) for s in range(channels)], 1)
    path = tmp_path / "a.wav"
    soundfile.write(path, sound, 11025, format=format, subtype=subtype)
    with path.open("rb") as file:
        source = Stdin(file=file)
        got = heard(source)
    assert source.line.bank.rate == 11025
    assert source.line.detail == ""
    np.testing.assert_array_equal(got, read_audio(path)[0])


WRITERS = {
    "ffmpeg": "ffmpeg -v error -f lavfi -i sine=440:d=3:r=22050 -f wav -",
    "ffmpeg-24": "ffmpeg -v error -f lavfi -i sine=440:d=3:r=22050 -c:a pcm_s24le -ac 2 -f wav -",
    "ffmpeg-float": "ffmpeg -v error -f lavfi -i sine=440:d=3:r=22050 -c:a pcm_f32le -f wav -",
    "sox": "sox -V1 -n -r 22050 -c 2 -b 16 -t wav - synth 3 sine 440",
    "sox-24": "sox -V1 -n -r 22050 -b 24 -t wav - synth 3 sine 440",
}


@pytest.mark.parametrize("writer", WRITERS)
def test_wav_streams_of_programs_that_do_not_know_their_length(writer: str) -> None:
    command = WRITERS[writer].split()
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        source = Stdin(file=process.stdout)  # type: ignore[arg-type]
        got = heard(source)
    assert process.returncode == 0
    assert source.line.detail == ""
    assert source.line.bank.rate == 22050
    assert len(got) == 3 * 22050
    assert peak_hz(got, 22050) == pytest.approx(440, abs=1)


def test_a_pipe_waits_for_its_reader_and_nothing_is_lost(pipe: tuple[BinaryIO, BinaryIO]) -> None:
    reading, writing = pipe
    sound = ramp(25 * 8000)

    def write() -> None:
        with writing:
            data = memoryview(sound.astype("<f4").tobytes())
            while data:
                data = data[writing.write(data) :]

    writer = threading.Thread(target=write, daemon=True)
    source = Stdin("f32le", 8000, file=reading)
    source.start()
    assert not source.live
    writer.start()
    until(lambda: source.line.bank.room(0) < source.line.bank.capacity // ROOM, "the ring was not filled")
    np.testing.assert_array_equal(drain(source.line, step=999), sound)
    writer.join()
    assert source.streams() == [source.line]
    assert source.done
    source.close()


def test_samples_arrive_while_the_pipe_stays_open(pipe: tuple[BinaryIO, BinaryIO]) -> None:
    reading, writing = pipe
    source = Stdin("s16le", 8000, file=reading)
    source.start()
    writing.write(np.arange(5, dtype="<i2").tobytes() + b"\x05")
    until(lambda: source.line.bank.written[0] == 5)
    writing.write(b"\x00")
    until(lambda: source.line.bank.written[0] == 6)
    got = source.line.bank.read(np.array([0]), np.array([0]), 6)[0]
    assert (got * 2**15).tolist() == [0, 1, 2, 3, 4, 5]
    source.close()


def test_close_frees_a_read_on_a_pipe_that_stays_silent(pipe: tuple[BinaryIO, BinaryIO]) -> None:
    source = Stdin("s16le", 8000, file=pipe[0])
    source.start()
    source.close()
    assert source.line.bank.ended[0]  # set by the thread, as the last thing it does
    assert source.done


def test_close_frees_a_pipe_that_waits_for_its_reader(pipe: tuple[BinaryIO, BinaryIO]) -> None:
    source = Stdin("s16le", 1000, file=pipe[0])
    source.start()
    pipe[1].write(bytes(2 * 11000))
    until(lambda: source.line.bank.room(0) < source.line.bank.capacity // ROOM)
    source.close()
    assert source.line.bank.ended[0]


def test_what_is_no_number_becomes_missing_and_is_counted() -> None:
    sound = noise(0.1, 8000)
    sound[[3, 50, 51]] = np.nan, np.inf, -np.inf
    sound[60] = 1e30
    source = Stdin("f32le", 8000, file=io.BytesIO(sound.tobytes()))
    got = heard(source)
    assert np.flatnonzero(np.isnan(got)).tolist() == [3, 50, 51, 60]
    fine = ~np.isnan(got)
    np.testing.assert_array_equal(got[fine], sound[fine])
    assert source.counters()["not_a_number"] == 4


def test_a_double_beyond_float_is_no_number_either() -> None:
    assert np.isinf(decode(struct.pack("<d", 1e300), Format("f64le", 8000, 1)))[0, 0]


def test_an_odd_byte_at_the_end_is_counted_not_heard() -> None:
    source = Stdin("s16le", 8000, 2, file=io.BytesIO(bytes(4 * 10 + 3)))
    assert len(heard(source)) == 10
    assert source.counters()["odd_bytes"] == 3


def wav(data: bytes, size: int, **change: int) -> bytes:
    field = {"tag": 1, "channels": 1, "rate": 8000, "align": 2, "bits": 16} | change
    fmt = struct.pack(
        "<HHIIHH", field["tag"], field["channels"], field["rate"], 0, field["align"], field["bits"]
    )
    chunks = b"fmt " + struct.pack("<I", 16) + fmt + b"odd " + struct.pack("<I", 3) + b"abc\0"
    return b"RIFF" + bytes(4) + b"WAVE" + chunks + b"data" + struct.pack("<I", size) + data


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x80000000, 0x7FFFEFFF])
def test_a_size_that_the_writer_could_not_know_is_until_the_end(size: int) -> None:
    source = Stdin(file=io.BytesIO(wav(bytes(2000), size)))
    assert len(heard(source)) == 1000
    assert ("claims no samples" in source.line.detail) == (size == 0)


def test_what_follows_the_data_is_not_heard() -> None:
    assert len(heard(Stdin(file=io.BytesIO(wav(bytes(2000) + b"LIST" + bytes(50), 2000))))) == 1000


def test_a_stream_that_is_cut_off_is_heard_so_far_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    source = Stdin(file=io.BytesIO(wav(bytes(16000), 32000)), name="line")
    assert len(heard(source)) == 8000
    assert "cut off after 1.00 s of 2.00 s" in source.line.detail
    said = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert said == [f"line: ended: {source.line.detail}"]


@pytest.mark.parametrize("data", [b"", b"\x01"])
def test_a_raw_stream_without_samples_says_so(data: bytes) -> None:
    source = Stdin("s16le", 8000, file=io.BytesIO(data))
    assert len(heard(source)) == 0
    assert "no samples arrived" in source.line.detail


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "no data; is something piped in"),
        (b"hello, world, this is text", "not a WAV stream.*s16le"),
        (wav(b"", 0)[:20], "ends inside its header"),
        (wav(b"", 0)[:40], "ends inside its header"),
        (wav(b"", 0, tag=2, align=1, bits=4), "neither PCM, float nor G.711.*ffmpeg"),
        (wav(b"", 0, channels=0), "invalid WAV header: 0 channels"),
        (wav(b"", 0, rate=0), "invalid WAV header: 1 channels, 0 Hz"),
        (wav(b"", 0, rate=4_000_000_000), "not a rate of audio"),
        (b"RIFF" + bytes(4) + b"WAVEdata" + bytes(4), "samples before their format"),
        (b"RIFF" + bytes(4) + b"WAVEjunk" + struct.pack("<I", 1 << 30), "first MiB"),
    ],
)
def test_a_header_that_is_wrong_is_refused_in_one_line(data: bytes, says: str) -> None:
    source = Stdin(file=io.BytesIO(data), name="line")
    with pytest.raises(AudioError, match=f"^line: .*{says}"):
        source.start()
    assert source.streams() == []
    source.close()


@given(st.binary(max_size=80), st.integers(0, 60))
def test_any_bytes_are_a_header_or_an_audio_error(noise: bytes, keep: int) -> None:
    data = wav(b"", 0)[:keep] + noise
    try:
        format = read_wav_header(io.BytesIO(data).read)
    except AudioError:
        return
    assert format.frame > 0


def test_a_header_that_does_not_come_is_an_error_after_a_while(pipe: tuple[BinaryIO, BinaryIO]) -> None:
    pipe[1].write(b"RIFF")
    with pytest.raises(SourceError, match="no WAV header"):
        Stdin(file=pipe[0], patience=0.05).start()


def test_right_of_a_mono_stream_is_refused() -> None:
    with pytest.raises(ConfigError, match="only 1 channel"):
        Stdin(file=io.BytesIO(wav(bytes(20), 20)), channel="right").start()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(("mp3",), "mp3"), (("s16le",), "--rate"), (("s16le", 0), "--rate"), (("f32le", 8000, 0), "channels")],
)
def test_settings_that_cannot_be_are_refused(arguments: tuple[str, int, int], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Stdin(*arguments)


SCRIPT = """
from streamcab.errors import SourceError
from streamcab.source.single import ROOM
from streamcab.source.stdin import Stdin
try:
    Stdin().start()
except SourceError as error:
    print(error)
"""


def test_a_terminal_is_no_audio() -> None:
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run([sys.executable, "-c", SCRIPT], stdin=theirs, capture_output=True, text=True)
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.stdout.startswith("standard input is a terminal: pipe audio into it")


def test_standard_input_of_a_process_is_heard() -> None:
    script = (
        "import sys; from streamcab.source.stdin import Stdin; from signals import drain\n"
        "s = Stdin('s16le', 8000); s.start(); print(len(drain(s.line))); s.close()"
    )
    folder = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=bytes(2 * 12345),
        capture_output=True,
        check=True,
        env=os.environ | {"PYTHONPATH": folder},
    )
    assert done.stdout == b"12345\n"
