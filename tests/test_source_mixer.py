"""Channels: what drowns or cancels is left out and said, and nothing depends on how the frames come."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import int16, wav
from serving import ANYWHERE, run, save_model
from signals import drain, write_wav
from speech import SMALL_STAGES, hum, noise, talk, tiny_model

from streamcab.classifier import load
from streamcab.errors import ConfigError
from streamcab.nn.checkpoint import Checkpoint
from streamcab.source.file import AudioFile, read_audio
from streamcab.source.mixer import Mixer, mixed
from streamcab.source.stdin import Stdin

RATE = 8000
A, B = talk(12, RATE, seed=1), talk(12, RATE, seed=5)


def stereo(*channels: np.ndarray) -> np.ndarray:
    n = max(map(len, channels))
    return np.stack([np.pad(c, (0, n - len(c))) for c in channels], 1).astype(np.float32)


def mix(*channels: np.ndarray) -> tuple[np.ndarray, Mixer]:
    frames = stereo(*channels)
    mixer = Mixer("mix", frames.shape[1], RATE)
    out = np.concatenate([mixer.push(frames), mixer.finish()])
    assert out.shape == (len(frames), 1)
    return out[:, 0], mixer


def by_turns(first: bool) -> np.ndarray:
    """One of two who speak by turns, 1.5 s each; a faint noise while the other does."""
    turn = (np.arange(len(A)) // (RATE * 3 // 2)) % 2 == (0 if first else 1)
    return (A if first else B) * turn + noise(12, RATE, seed=first, rms=2e-5)


def snr(out: np.ndarray, clean: np.ndarray, since: float = 0.0) -> float:
    """How well `out` is a multiple of `clean`, in dB."""
    x, y = out[int(since * RATE) :], clean[int(since * RATE) : len(out)]
    rest = x - y * (x @ y / (y @ y))
    return float(10 * np.log10((x @ x) / max(rest @ rest, 1e-12)))


def test_opposite_phase_is_one_of_the_two_and_said() -> None:
    out, mixer = mix(A, -A)
    np.testing.assert_array_equal(np.abs(out), np.abs(A) / 2)
    (name,) = mixer.flaws
    assert name == "channels-cancel-1-2"
    assert "they cancel: channel 1 is heard" in mixer.flaws[name]


@pytest.mark.parametrize("level", [0.3, 0.7])
@pytest.mark.parametrize("stronger", [1, 2])
def test_of_two_that_cancel_the_stronger_is_heard(level: float, stronger: int) -> None:
    pair = (A, -level * A) if stronger == 1 else (-level * A, A)
    out, mixer = mix(*pair)
    np.testing.assert_allclose(np.abs(out), np.abs(A) / 2, atol=1e-6)
    assert f"channel {stronger} is heard" in mixer.flaws["channels-cancel-1-2"]


@pytest.mark.parametrize("other", ["hum", "white", "pink"])
@pytest.mark.parametrize("loud", [0.1, 0.35])
@pytest.mark.parametrize("late", [0.0, 3.3])
def test_noise_in_one_channel_does_not_drown_the_other(other: str, loud: float, late: float) -> None:
    speech = np.concatenate([np.zeros(int(late * RATE), np.float32), A * 0.7])
    seconds = len(speech) / RATE
    drowning = (
        hum(seconds, RATE, rms=loud)
        if other == "hum"
        else noise(seconds, RATE, rms=loud, pink=other == "pink")
    )
    out, mixer = mix(speech, drowning)
    assert snr(out, speech) > 30
    (name,) = mixer.told
    assert name == "noisy-channel-2"
    level = int(re.search(r"(-\d+) dB", mixer.told[name])[1])  # type: ignore[index]
    assert level == pytest.approx(20 * np.log10(loud), abs=4)
    assert snr(mix(drowning, speech)[0], speech) > 30


def test_noise_that_begins_in_a_call_drowns_two_seconds_at_most() -> None:
    drowning = np.concatenate([np.zeros(4 * RATE, np.float32), hum(8, RATE, rms=0.35)])
    out, mixer = mix(A, drowning)
    assert snr(out[: 4 * RATE], A) > 30
    assert snr(out, A, since=6.5) > 25
    assert "noisy-channel-2" in mixer.told


def test_two_who_speak_by_turns_are_both_heard_and_said_to_be_two() -> None:
    a, b = by_turns(True), by_turns(False)
    out, mixer = mix(a, b)
    np.testing.assert_allclose(out, (a + b) / 2, atol=1e-6)
    assert list(mixer.flaws) == ["unlike-channels-1-2"]
    assert "--channel each" in mixer.flaws["unlike-channels-1-2"]


@pytest.mark.parametrize(
    "second",
    [A, 0.3 * A, np.roll(A, 3), np.zeros(8, np.float32), A + noise(12, RATE, rms=1e-4)],
    ids=["the same", "softer", "a little later", "dead", "with a little noise"],
)
def test_what_is_usual_is_no_flaw(second: np.ndarray) -> None:
    out, mixer = mix(A, second)
    assert not mixer.told
    assert snr(out, A) > 4  # a delay takes away some frequencies


def test_a_dead_channel_takes_nothing_away() -> None:
    np.testing.assert_array_equal(mix(A, np.zeros(8, np.float32))[0], A / 2)
    np.testing.assert_array_equal(mix(np.zeros(8, np.float32), A)[0], A / 2)


def test_of_three_channels_each_is_judged() -> None:
    out, mixer = mix(A, np.zeros(8, np.float32), hum(12, RATE, rms=0.3))
    assert snr(out, A) > 30
    assert list(mixer.told) == ["noisy-channel-3"]


def test_silence_and_short_clips_are_their_mean() -> None:
    assert not mix(np.zeros(RATE, np.float32), np.zeros(RATE, np.float32))[0].any()
    np.testing.assert_allclose(mix(A[:900], A[:900])[0], A[:900], atol=1e-7)
    assert Mixer("mix", 2, RATE).push(np.zeros((0, 2), np.float32)).shape == (0, 1)


SCENES = {
    "opposite": stereo(A, -A),
    "hum": stereo(A, hum(12, RATE, rms=0.3)),
    "turns": stereo(by_turns(True), by_turns(False)),
    "three": stereo(A, B, noise(12, RATE, rms=0.2)),
}


@pytest.mark.parametrize("scene", SCENES)
@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 12 * RATE), max_size=20), end=st.integers(0, 12 * RATE))
def test_how_frames_come_changes_nothing(scene: str, cuts: list[int], end: int) -> None:
    frames = SCENES[scene][:end]
    whole = mixed(frames, "mix", RATE)
    mixer = Mixer("mix", frames.shape[1], RATE)
    parts = [mixer.push(part) for part in np.split(frames, sorted(c for c in cuts if c < end))]
    np.testing.assert_array_equal(np.concatenate([*parts, mixer.finish()])[:, 0], whole)
    assert len(whole) == end


def test_what_is_missing_stays_missing_and_spoils_nothing_else() -> None:
    frames = stereo(A, A)
    frames[30_000:30_100, 1] = np.nan
    out = mixed(frames, "mix", RATE)
    assert np.isnan(out[30_000:30_100]).all()
    assert np.isfinite(np.delete(out, np.s_[30_000:30_100])).all()


# --- sources and commands ---------------------------------------------------------------------------------------------


def test_files_pipes_and_offline_hear_the_same(tmp_path: Path) -> None:
    frames = stereo(A, hum(12, RATE, rms=0.3))
    path = write_wav(tmp_path / "a.wav", frames, RATE)
    offline, _ = read_audio(path)
    for source in (AudioFile(path, "fast"), Stdin(file=io.BytesIO(path.read_bytes()))):
        source.start()
        np.testing.assert_array_equal(drain(source.line, step=777), offline)
        assert list(source.line.flaws) == ["noisy-channel-2"]
        assert "channel 2 has noise at -1" in source.line.in_words
        source.close()


def test_each_channel_is_a_stream_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "talk.wav"
    data = wav(int16(stereo(A, B)).tobytes(), RATE, channels=2)
    path.write_bytes(data)
    sources = (AudioFile(path, "fast", "each"), Stdin(channel="each", file=io.BytesIO(data)))
    for source, name in zip(sources, ("talk", "stdin"), strict=True):
        source.start()
        lines = source.streams()
        assert [line.name for line in lines] == [f"{name}-1", f"{name}-2"]
        assert lines[1].description.endswith("channel: each 2")
        for number, got in enumerate(drain_beside(lines), 1):
            np.testing.assert_array_equal(got, read_audio(path, str(number))[0])
        assert source.done
        source.close()


def drain_beside(lines: list) -> list[np.ndarray]:
    """All streams of a source read side by side, since it waits for the slowest."""
    bank, parts = lines[0].bank, [[] for _ in lines]
    while True:
        ended, have = bool(bank.ended.all()), bank.written - bank.consumed
        if ended and not have.any():
            return [np.concatenate(p) for p in parts]
        for row in range(bank.rows):
            if n := int(have[row]):
                parts[row].append(bank.read(np.array([row]), bank.consumed[[row]], n)[0])
                bank.consumed[row] += n
        bank.arrived.wait(0.01)
        bank.arrived.clear()


def test_a_mono_file_is_one_stream_whatever_is_asked(tmp_path: Path) -> None:
    source = AudioFile(write_wav(tmp_path / "talk.wav", A, RATE), "fast", "each")
    source.start()
    assert [line.name for line in source.streams()] == ["talk"]
    source.close()


def test_each_is_refused_where_it_is_not_possible(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="only one is supported here"):
        read_audio(write_wav(tmp_path / "a.wav", stereo(A, B), RATE), "each")


def test_classify_and_listen_answer_each_channel_as_alone(tmp_path: Path) -> None:
    model = save_model(Checkpoint(tiny_model(1, stages=SMALL_STAGES), {}), tmp_path)
    path = write_wav(tmp_path / "call.wav", stereo(A, B), RATE)
    want = {n: load(model).classify(*read_audio(path, str(n))).probs for n in (1, 2)}
    done = run("classify", "--json", "--channel", "each", "--model", model, path)
    assert done.returncode == 0, done.stderr
    told = {m["stream"]: m["probs"] for m in map(json.loads, done.stdout.splitlines())}
    assert list(told) == [f"{path}:1", f"{path}:2"]
    words = ("--channel", "each", "--file", path, "--fast", "--json", "--endpoint", ANYWHERE)
    done = run("listen", *words, "--model", model)
    assert done.returncode == 0, done.stderr
    last = {m["stream"]: m["probs"] for m in map(json.loads, done.stdout.splitlines())}
    for n, probs in want.items():
        assert told[f"{path}:{n}"] == pytest.approx(probs, abs=1e-5)
        assert last[f"call-{n}"] == pytest.approx(probs, abs=1e-5)


def test_classify_says_what_the_mix_came_upon(tmp_path: Path) -> None:
    model = save_model(Checkpoint(tiny_model(1, stages=SMALL_STAGES), {}), tmp_path)
    path = write_wav(tmp_path / "call.wav", stereo(A, -A), RATE)
    done = run("classify", "--model", model, path)
    assert done.returncode == 0
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith(f"Warning: {path}: channel 2 is channel 1 turned over")
