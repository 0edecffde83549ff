"""Files: every format, every way to be wrong, both paces."""

import logging
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from patience import until
from signals import drain, newest, noise, peak_hz, ramp, syllables, tone, write_wav

from streamcab.errors import AudioError, ConfigError, SourceError, StreamcabError
from streamcab.source.channel import channel_number
from streamcab.source.file import AudioFile, read_audio
from streamcab.source.mixer import Mixer
from streamcab.source.single import ROOM

# The name, libsndfile's format and subtype, and how far a decoded sample may be from what was written.
FORMATS = [
    ("pcm16.wav", "WAV", "PCM_16", 1e-4),
    ("pcm24.wav", "WAV", "PCM_24", 1e-6),
    ("float.wav", "WAV", "FLOAT", 0),
    ("extensible.wav", "WAVEX", "PCM_16", 1e-4),
    ("a.flac", "FLAC", "PCM_24", 1e-6),
    ("a.aiff", "AIFF", "PCM_16", 1e-4),
]
LOSSY = [("a.ogg", "OGG", "VORBIS"), ("a.opus", "OGG", "OPUS"), ("a.mp3", "MP3", "MPEG_LAYER_III")]
# Three quarters of these are still enough to begin with.
CUT = [("a.wav", "WAV", "PCM_16"), *LOSSY, ("a.flac", "FLAC", "PCM_16"), ("a.aiff", "AIFF", "PCM_16")]


def make(path: Path, format: str, subtype: str, seconds: float = 3.0, rate: int = 48000) -> Path:
    soundfile.write(path, noise(seconds, rate), rate, format=format, subtype=subtype)
    return path


def cut(path: Path) -> Path:
    """The file without its last quarter."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 3 // 4])
    return path


@pytest.mark.parametrize(("name", "format", "subtype", "error"), FORMATS)
@pytest.mark.parametrize("rate", [8000, 11025, 44100])
def test_lossless_files_are_read_as_they_were_written(
    tmp_path: Path, name: str, format: str, subtype: str, error: float, rate: int
) -> None:
    sound = syllables(2.3, rate)
    soundfile.write(tmp_path / name, sound, rate, format=format, subtype=subtype)
    samples, its_rate = read_audio(tmp_path / name)
    assert its_rate == rate
    assert samples.dtype == np.float32
    assert samples.shape == sound.shape
    np.testing.assert_allclose(samples, sound, rtol=0, atol=error)


@pytest.mark.parametrize(("name", "format", "subtype"), LOSSY)
def test_lossy_files_are_read(tmp_path: Path, name: str, format: str, subtype: str) -> None:
    path = tmp_path / name
    soundfile.write(path, tone(440, 3, 48000), 48000, format=format, subtype=subtype)
    samples, rate = read_audio(path)
    assert rate == 48000
    assert len(samples) == 3 * 48000
    assert peak_hz(samples[rate : 2 * rate], rate) == pytest.approx(440, abs=2)
    assert np.abs(samples[rate : 2 * rate]).max() == pytest.approx(0.5, abs=0.05)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
@pytest.mark.parametrize("format", ["wav", "flac", "mp3", "ogg"])
def test_files_that_a_pipe_wrote_and_that_do_not_know_their_length_are_whole(
    tmp_path: Path, format: str
) -> None:
    path = tmp_path / f"a.{format}"
    source = ["-f", "lavfi", "-i", "sine=440:d=3:r=44100"]
    with path.open("wb") as out:
        subprocess.run(["ffmpeg", "-v", "error", *source, "-f", format, "pipe:1"], stdout=out, check=True)
    samples, rate = read_audio(path)
    assert len(samples) == pytest.approx(3 * rate, abs=3000)  # MP3 adds a frame or two
    assert peak_hz(samples[rate : 2 * rate], rate) == pytest.approx(440, abs=2)
    source_ = AudioFile(path, "fast")
    source_.start()
    np.testing.assert_array_equal(drain(source_.line), samples)
    assert source_.line.detail == ""
    source_.close()


def test_channels_are_mixed_or_picked(tmp_path: Path) -> None:
    left, right = tone(440, 1, 8000), tone(880, 1, 8000)
    path = write_wav(tmp_path / "a.wav", np.stack([left, right], 1), 8000, "FLOAT")
    np.testing.assert_array_equal(read_audio(path, "left")[0], left)
    np.testing.assert_array_equal(read_audio(path, "1")[0], left)
    np.testing.assert_array_equal(read_audio(path, "right")[0], right)
    np.testing.assert_array_equal(read_audio(path, "2")[0], right)
    np.testing.assert_allclose(read_audio(path)[0], (left + right) / 2, atol=1e-7)
    source = AudioFile(path, "fast", "right")
    source.start()
    np.testing.assert_array_equal(drain(source.line), right)
    source.close()


@pytest.mark.parametrize(
    ("channel", "count", "says"),
    [
        ("right", 1, "only 1 channel"),
        ("3", 2, "only 2 channels"),
        ("0", 2, "no such channel"),
        ("-1", 2, "no such channel"),
        ("both", 2, "no such channel: 'both'"),
        ("²", 2, "no such channel"),
        ("", 2, "no such channel"),
    ],
)
def test_a_channel_that_is_not_there_is_refused(channel: str, count: int, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        channel_number(channel, count)
    with pytest.raises(ConfigError, match=says):
        Mixer(channel, count, 8000)


def wrong_files(folder: Path) -> dict[str, tuple[Path, type[StreamcabError], str]]:
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.wav").write_text("this is not audio\n" * 50)
    (folder / "a.raw").write_bytes(bytes(1000))
    (folder / "folder.wav").mkdir()
    sound = noise(1, 8000)
    write_wav(folder / "none.wav", sound[:0], 8000)
    sound[4321] = np.nan
    write_wav(folder / "nan.wav", sound, 8000, "FLOAT")
    sound[4321] = -np.inf
    write_wav(folder / "inf.wav", sound, 8000, "DOUBLE")
    return {
        "missing": (folder / "missing.wav", SourceError, "no such file"),
        "folder": (folder / "folder.wav", SourceError, "not a file"),
        "empty": (folder / "empty.wav", AudioError, "empty"),
        "text": (folder / "text.wav", AudioError, "not audio.*ffmpeg"),
        "raw": (folder / "a.raw", AudioError, "raw samples without a header.*ffmpeg -f s16le"),
        "none": (folder / "none.wav", AudioError, "no samples"),
        "nan": (folder / "nan.wav", AudioError, "sample 4321 is nan"),
        "inf": (folder / "inf.wav", AudioError, "sample 4321 is -inf"),
    }


@pytest.mark.parametrize("which", ["missing", "folder", "empty", "text", "raw", "none", "nan", "inf"])
def test_a_wrong_file_is_refused_in_one_line_that_names_it(tmp_path: Path, which: str) -> None:
    path, kind, says = wrong_files(tmp_path)[which]
    with pytest.raises(kind, match=says) as whole:
        read_audio(path)
    source = AudioFile(path)
    with pytest.raises(kind, match=says) as streamed:
        source.start()
    assert source.streams() == []
    source.close()
    for error in (whole, streamed):
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "format", "subtype"), CUT)
def test_of_a_file_that_is_cut_off_what_is_there_is_heard_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, format: str, subtype: str
) -> None:
    path = make(tmp_path / name, format, subtype, seconds=8)
    whole, _ = read_audio(path)
    assert not caplog.records
    got, _ = read_audio(cut(path))
    assert 4 * 48000 < len(got) < 7 * 48000
    # A lossy codec's last frame leans on the next, which is gone.
    sure = len(got) if format in ("WAV", "FLAC", "AIFF") else len(got) - 2304
    np.testing.assert_array_equal(got[:sure], whole[:sure])
    assert len(caplog.records) == 1
    assert caplog.records[0].getMessage().startswith(f"{path}: cut off")


@pytest.mark.parametrize(("name", "format", "subtype"), CUT)
def test_a_stream_ends_where_its_file_is_cut_off_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, format: str, subtype: str
) -> None:
    path = cut(make(tmp_path / name, format, subtype, seconds=8))
    samples, _ = read_audio(path)
    caplog.clear()
    source = AudioFile(path, "fast", name="talk")
    with caplog.at_level(logging.INFO, "streamcab.source"):
        source.start()
        np.testing.assert_array_equal(drain(source.line), samples)
    assert source.line.detail.startswith("cut off")
    assert source.failure is None
    assert [r.getMessage() for r in caplog.records] == ["talk: live", f"talk: ended: {source.line.detail}"]
    assert caplog.records[-1].levelno == logging.WARNING
    source.close()


def test_right_of_a_mono_file_is_refused_before_it_plays(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", noise(1, 8000), 8000)
    with pytest.raises(ConfigError, match="only 1 channel"):
        AudioFile(path, channel="right").start()
    with pytest.raises(ConfigError, match="only 1 channel"):
        read_audio(path, "right")


def test_a_pace_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'slow'"):
        AudioFile(tmp_path / "a.wav", "slow")  # type: ignore[arg-type]


def test_a_rate_that_no_audio_has_is_refused(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", noise(1, 1000), 16)
    with pytest.raises(AudioError, match="16 Hz is not a rate of audio"):
        AudioFile(path).start()


def test_fast_waits_for_its_reader_and_loses_nothing(tmp_path: Path) -> None:
    sound = ramp(25 * 8000)
    path = write_wav(tmp_path / "a.wav", sound, 8000, "FLOAT")
    source = AudioFile(path, "fast")
    source.start()
    assert not source.live
    bank = source.line.bank
    until(lambda: bank.room(0) < bank.capacity // ROOM, "the ring was not filled")
    assert not source.done
    np.testing.assert_array_equal(drain(source.line, step=777), sound)
    assert source.streams() == [source.line]
    assert source.streams() == []
    assert source.done
    assert source.line.detail == ""
    assert source.counters() == {"overflows": 0, "skipped": 0, "not_a_number": 0}
    source.release(source.line)
    source.close()


def test_live_plays_no_sample_before_its_time_and_does_not_drift(tmp_path: Path) -> None:
    rate = 22050  # 25 ms are no whole number of samples
    sound = ramp(rate)
    path = write_wav(tmp_path / "a.wav", sound, rate, "FLOAT")
    source = AudioFile(path, "live", name="talk")
    before = time.monotonic()
    source.start()
    assert source.live
    bank = source.line.bank
    seen = {}
    while not bank.ended[0]:
        bank.arrived.wait(1)
        bank.arrived.clear()
        n = int(bank.written[0])
        stamp = float(bank.stamp[0])
        if n and n == bank.written[0] and stamp == bank.stamp[0]:
            seen[n] = stamp
            assert stamp <= time.monotonic()
    assert bank.written[0] == rate
    np.testing.assert_array_equal(newest(source.line, rate), sound)
    began = {round(stamp - n / rate, 6) for n, stamp in seen.items() if n % (rate // 40) == 0}
    assert len(began) == 1
    assert before <= began.pop() + 1e-6
    assert len(seen) > 10
    source.close()


def test_a_loop_goes_on_where_it_ended(tmp_path: Path) -> None:
    sound = ramp(3000)
    path = write_wav(tmp_path / "a.wav", sound, 8000, "FLOAT")
    source = AudioFile(path, "fast", loop=True)
    source.start()
    bank = source.line.bank
    until(lambda: bank.room(0) < len(sound))
    written = int(bank.written[0])
    got = bank.read(np.array([0]), np.array([0]), written)[0]
    np.testing.assert_array_equal(got, np.resize(sound, written))
    source.close()
    until(lambda: bool(bank.ended[0]))


@pytest.mark.parametrize("pace", ["live", "fast"])
def test_close_ends_the_thread_amid_a_file(tmp_path: Path, pace: str) -> None:
    path = write_wav(tmp_path / "a.wav", noise(60, 8000), 8000)
    source = AudioFile(path, pace)  # type: ignore[arg-type]
    source.start()
    bank = source.line.bank
    until(lambda: bank.written[0] > 0)
    source.close()
    assert bank.ended[0]
    assert source.done
    assert bank.written[0] < 60 * 8000
    source.close()


def test_the_stream_is_named_after_the_file_in_what_a_topic_allows(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "Anna & Bob, 3.wav", noise(0.1, 8000), 8000)
    source = AudioFile(path)
    source.start()
    assert source.line.name == "Anna-Bob-3"
    assert "Anna & Bob, 3.wav" in source.line.description
    assert "8000 Hz" in source.line.description
    source.close()
