"""What arrives as a file: headers that lie, lengths that are estimates, what phones record; what is there is heard."""

import io
import logging
import os
import re
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import companded, encode, id3v2, int16, mp3, tags_behind, wav
from signals import drain, noise, syllables, tone, write_wav

from streamcab.errors import AudioError
from streamcab.source import libav
from streamcab.source.complaints import Complaints
from streamcab.source.file import AudioFile, read_audio
from streamcab.source.formats import RAW, open_audio
from streamcab.source.mp3 import find_frame, frame_bytes
from streamcab.source.stdin import Stdin

SOUND = int16(syllables(4, 8000)).astype(np.float32) / np.float32(32768)
DATA = int16(SOUND).tobytes()


def heard_both_ways(path: Path, caplog: pytest.LogCaptureFixture) -> tuple[np.ndarray, str]:
    """The samples of a file and what is said of it: whole, as a stream and, of a WAV, through a pipe the same."""
    caplog.clear()
    with caplog.at_level(logging.WARNING, "streamcab.source"):
        samples, _ = read_audio(path)
    said = [r.getMessage().removeprefix(f"{path}: ") for r in caplog.records]
    assert len(said) <= 1
    streams = [AudioFile(path, "fast")]
    with path.open("rb") as file:
        if path.suffix == ".wav":
            streams.append(Stdin(file=file))  # type: ignore[arg-type]
        for stream in streams:
            stream.start()
            np.testing.assert_array_equal(drain(stream.line), samples)
            assert stream.line.detail == (said[0] if said else "")
            assert stream.failure is None
            stream.close()
    return samples, said[0] if said else ""


def likeness(a: np.ndarray, b: np.ndarray, rate: int) -> float:
    """The correlation of the loudness of two sounds, with a codec's delay of up to 0.2 s allowed for."""
    step = rate // 100
    x, y = (np.abs(s[: len(s) // step * step]).reshape(-1, step).mean(1) for s in (a, b))
    n = min(len(x), len(y)) - 40
    return max(float(np.corrcoef(x[d : d + n], y[20 : 20 + n])[0, 1]) for d in range(40))


@pytest.mark.parametrize(
    ("size", "riff", "says"),
    [
        (len(DATA), None, ""),
        (0, 36, "claims no samples, .* all 4.00 s that follow are heard"),
        (0, 0, "claims no samples"),
        (0xFFFFFFFF, None, ""),
        (0x7FFFFFFF, None, ""),
        (len(DATA) * 3 // 2, None, "cut off after 4.00 s of 6.00 s; what is there is heard"),
        (len(DATA) // 2, None, "claims 2.00 s, but 4.00 s follow; all of it is heard"),
        (len(DATA) - 1, None, ""),
        (len(DATA) - 800, None, ""),  # a last buffer that was not counted
    ],
)
def test_a_size_is_believed_as_far_as_the_bytes_bear_it_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, size: int, riff: int | None, says: str
) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(DATA, size=size, riff=riff))
    samples, said = heard_both_ways(path, caplog)
    np.testing.assert_array_equal(samples, SOUND)
    assert re.fullmatch(f".*{says}.*" if says else "", said)


@settings(deadline=None)
@given(st.integers(0, 3 * len(DATA)))
def test_whatever_size_is_claimed_all_that_is_there_is_heard(size: int) -> None:
    source = Stdin(file=io.BytesIO(wav(DATA, size=size)))
    source.start()
    np.testing.assert_array_equal(drain(source.line), SOUND)
    source.close()


CHUNK = b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 14) + b"Lavf59.27.100\x00"


@pytest.mark.parametrize(
    "behind",
    [
        CHUNK,
        b"id3 " + struct.pack("<I", 4) + b"ID3\x03",
        b"wave" + struct.pack("<I", 2) + b"ab",
        b"TAG" + bytes(125),
        b"\x00" * 3,
    ],
    ids=["list", "id3", "unknown", "id3v1", "padding"],
)
def test_what_is_no_samples_behind_the_data_is_not_heard(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, behind: bytes
) -> None:
    path = tmp_path / "a.wav"
    inside = behind[:3] not in (b"TAG", b"\x00\x00\x00")
    path.write_bytes(wav(DATA, riff=36 + len(DATA) + (len(behind) if inside else 0)) + behind)
    samples, said = heard_both_ways(path, caplog)
    assert said == ""
    np.testing.assert_array_equal(samples[: len(SOUND)], SOUND)
    assert len(samples) - len(SOUND) <= 1


def test_a_chunk_of_odd_size_has_a_byte_that_does_not_count(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.wav"
    data = companded(SOUND, "PCMU")[:31_999]
    path.write_bytes(
        wav(data, tag=7, bits=8, riff=36 + 32_000 + len(CHUNK)).ljust(44 + 32_000, b"\0") + CHUNK
    )
    samples, said = heard_both_ways(path, caplog)
    assert len(samples) == 31_999
    assert said == ""


@pytest.mark.parametrize(("tag", "law"), [(7, "PCMU"), (6, "PCMA")])
def test_g711_in_wav_is_what_libsndfile_makes_of_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, tag: int, law: str
) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(companded(SOUND, law), tag=tag, bits=8))
    samples, said = heard_both_ways(path, caplog)
    assert said == ""
    np.testing.assert_array_equal(samples, soundfile.read(path, dtype="float32")[0])
    path.write_bytes(wav(companded(SOUND, law), tag=tag, bits=8, size=0))
    again, said = heard_both_ways(path, caplog)
    np.testing.assert_array_equal(again, samples)
    assert "claims no samples" in said


def test_rf64_has_its_size_in_a_chunk_of_its_own(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plain = wav(DATA)
    sizes = b"ds64" + struct.pack("<IQQQI", 28, 72 + len(DATA) + len(CHUNK), len(DATA), len(SOUND), 0)
    path = tmp_path / "a.wav"
    path.write_bytes(b"RF64\xff\xff\xff\xffWAVE" + sizes + plain[12:40] + b"\xff\xff\xff\xff" + DATA + CHUNK)
    samples, said = heard_both_ways(path, caplog)
    np.testing.assert_array_equal(samples, SOUND)
    assert said == ""


def test_a_rarer_kind_of_wav_is_libsndfiles(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    soundfile.write(tmp_path / "a.wav", SOUND, 8000, subtype="IMA_ADPCM")
    samples, _ = read_audio(tmp_path / "a.wav")
    assert np.abs(samples[:32000] - SOUND).mean() < 0.02
    assert not caplog.records


# --- MP3 ------------------------------------------------------------------------------------------------------------

av = pytest.importorskip("av", reason="pip install av")
VOICE = syllables(6, 16000)


@pytest.mark.parametrize("tags", [False, True])
@pytest.mark.parametrize(
    "sound",
    [
        np.concatenate([np.zeros(24_000, np.float32), VOICE]),
        np.concatenate([noise(1, 16000, 0.3), VOICE, np.zeros(160_000, np.float32)]),
    ],
    ids=["quiet first", "loud first"],
)
def test_an_mp3_without_an_index_is_what_decodes(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    sound: np.ndarray,
    tags: bool,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = mp3(tmp_path / "a.mp3", sound, tags=tags)
    with open_audio(path) as file:
        assert file.frames is None
    samples, said = heard_both_ways(path, caplog)
    assert len(samples) / 16000 == pytest.approx(len(sound) / 16000, abs=0.12)
    assert "libmpg123" not in capfd.readouterr().err
    assert likeness(samples, sound, 16000) > 0.95
    assert said == ""


def test_an_index_is_believed_and_what_follows_it_is_heard_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = mp3(tmp_path / "a.mp3", VOICE, index=True, tags=False)
    single, _ = read_audio(one)
    with open_audio(one) as file:
        assert file.frames == len(single)
    caplog.clear()
    two = tmp_path / "two.mp3"
    two.write_bytes(one.read_bytes() + id3v2(500) + one.read_bytes() + tags_behind())
    both, said = heard_both_ways(two, caplog)
    assert "cut off" not in said
    assert len(both) == 2 * len(single)
    np.testing.assert_allclose(both[len(single) :], single, atol=1e-4)


def test_an_mp3_with_an_index_that_is_cut_off_is_heard_so_far(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = mp3(tmp_path / "a.mp3", VOICE, index=True, tags=False)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    samples, said = heard_both_ways(path, caplog)
    assert 2 < len(samples) / 16000 < 4
    assert said.startswith("cut off after ")


def test_after_a_hole_in_an_mp3_the_rest_is_heard(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = mp3(tmp_path / "a.mp3", VOICE, index=True, tags=False)
    data = path.read_bytes()
    middle = len(data) // 2
    hole = np.random.default_rng(1).bytes(3000)
    path.write_bytes(data[: middle - 1500] + hole + data[middle + 1500 :])
    samples, said = heard_both_ways(path, caplog)
    assert len(samples) / 16000 > 4.5
    assert re.match("a place of it cannot be decoded|its decoder complained", said)


def test_parts_of_an_mp3_at_other_rates_are_refused(tmp_path: Path) -> None:
    a, b = mp3(tmp_path / "a.mp3", VOICE, index=True), mp3(tmp_path / "b.mp3", VOICE, 32000, index=True)
    (tmp_path / "ab.mp3").write_bytes(a.read_bytes() + b.read_bytes())
    with pytest.raises(AudioError, match=r"after 6\.\d+ s it goes on at 32000 Hz"):
        read_audio(tmp_path / "ab.mp3")


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 32000, 44100, 48000])
def test_frames_of_every_rate_are_found(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "a.mp3", tone(440, 2, rate), rate)
    data = (tmp_path / "a.mp3").read_bytes()
    at, frames = find_frame(data), 0
    while at < len(data) and (size := frame_bytes(data[at : at + 4])):
        at, frames = at + size, frames + 1
    assert at == len(data)
    assert frames > 20
    assert find_frame(np.random.default_rng(0).bytes(200_000)) == -1


@pytest.mark.parametrize("name", ["a.mp3", "a.ogg", "a.opus", "a.flac", "a.m4a"])
def test_samples_do_not_depend_on_how_much_is_read_at_a_time(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "a.m4a":
        encode(path, VOICE, 16000, "aac")
    elif name == "a.mp3":
        mp3(path, VOICE)
    else:
        format, subtype = {".ogg": ("OGG", "VORBIS"), ".opus": ("OGG", "OPUS")}.get(
            path.suffix, ("FLAC", "PCM_16")
        )
        soundfile.write(path, VOICE, 16000, format=format, subtype=subtype)
    whole, _ = read_audio(path)
    for size in (1, 400, 4001, 65_536):
        with open_audio(path) as file:
            some = [file.read(size) for _ in range(min(200_000 // size, 2000))]
        got = np.concatenate(some)[:, 0]
        np.testing.assert_array_equal(got, whole[: len(got)])


def test_only_what_the_library_writes_is_kept_back(capfd: pytest.CaptureFixture[str]) -> None:
    heard = Complaints()
    with heard.caught():
        os.write(
            2, b"[src/libmpg123/layer3.c:INT123_do_layer3():1774] error: part2_3_length (640) too large\n"
        )
        os.write(2, b"Note: Skipped 17 bytes in input.\n")
        os.write(2, b"a line of somebody else\n")
    assert (heard.count, heard.damage, heard.first) == (2, 1, "part2_3_length (640) too large")
    assert "a line of somebody else\n" in capfd.readouterr().err


# --- the rest, by av -----------------------------------------------------------------------------------------------

PHONES = [
    ("a.m4a", "aac", 16000, {"bit_rate": 32_000}),
    ("a.aac", "aac", 16000, {"container": "adts"}),
    ("a.webm", "libopus", 48000, {"bit_rate": 24_000}),
    ("a.mka", "flac", 16000, {}),
    ("a.mp4", "aac", 16000, {"video": True}),
    ("a.mkv", "libmp3lame", 16000, {"video": True}),
    ("a.wma", "wmav2", 16000, {"container": "asf", "bit_rate": 64_000}),
    ("a.3gp", "aac", 16000, {"container": "3gp"}),
]


@pytest.mark.parametrize(("name", "codec", "rate", "how"), PHONES, ids=[p[0] for p in PHONES])
def test_files_of_phones_are_heard(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, codec: str, rate: int, how: dict[str, object]
) -> None:
    sound = syllables(3, rate)
    path = encode(tmp_path / name, sound, rate, codec, **how)  # type: ignore[arg-type]
    samples, said = heard_both_ways(path, caplog)
    assert said == ""
    assert len(samples) / rate == pytest.approx(3, abs=0.15)
    assert likeness(samples, sound, rate) > 0.95


def test_a_file_of_a_phone_that_is_cut_off_is_heard_so_far(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.webm", syllables(3, 48000), 48000, "libopus", bit_rate=24_000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    samples, _ = read_audio(path)
    assert 1.5 < len(samples) / 48000 < 2.5


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nsecret.wav\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile secret.wav\n",
    ],
)
def test_a_list_of_other_files_is_not_followed(tmp_path: Path, text: str) -> None:
    write_wav(tmp_path / "secret.wav", SOUND, 8000)
    (tmp_path / "a.m3u8").write_text(text)
    with pytest.raises(AudioError, match="not audio"):
        read_audio(tmp_path / "a.m3u8")


def test_a_video_without_sound_is_no_audio(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as out:
        picture = out.add_stream("mpeg4", rate=5)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
        for packet in [*picture.encode(frame), *picture.encode(None)]:
            out.mux(packet)
    with pytest.raises(AudioError, match="not audio"):
        read_audio(tmp_path / "a.mp4")


def test_without_av_there_is_a_line_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = encode(tmp_path / "a.m4a", syllables(1, 16000), 16000, "aac")
    monkeypatch.setattr(libav, "installed", lambda: False)
    with pytest.raises(AudioError, match=r"need the package av: pip install av; or .*ffmpeg -i FILE out.wav"):
        read_audio(path)


# --- bare codes ----------------------------------------------------------------------------------------------------

BARE = {".ulaw": ("PCMU", 8000), ".pcma": ("PCMA", 8000), ".sln16": ("s16", 16000), ".pcm": ("s16", 8000)}


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
@pytest.mark.parametrize("suffix", BARE)
def test_the_line_to_type_for_bare_codes_works(tmp_path: Path, suffix: str) -> None:
    law, rate = BARE[suffix]
    sound = syllables(2, rate)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(int16(sound).tobytes() if law == "s16" else companded(sound, law))
    with pytest.raises(AudioError, match="raw samples without a header") as refused:
        read_audio(path)
    line = (
        str(refused.value).split("`")[1].replace("FILE", str(path)).replace("out.wav", f"{tmp_path}/out.wav")
    )
    subprocess.run([*line.split(), "-v", "error"], check=True)
    samples, got = read_audio(tmp_path / "out.wav")
    assert got == rate
    assert np.abs(samples - sound).max() < 0.03


@pytest.mark.parametrize("suffix", RAW)
def test_a_name_does_not_make_bare_codes_of_a_wav(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a{suffix}").write_bytes(wav(DATA))
    np.testing.assert_array_equal(read_audio(tmp_path / f"a{suffix}")[0], SOUND)
