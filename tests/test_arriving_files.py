"""Files as recorders and phones leave them, through the commands with the bundled model: answers as of the clean clip.

One `classify` and one `listen` hear them all; what their decoders do in detail is in test_source_decoder.py.
"""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import sounds
from recordings import companded, encode, int16, mp3, wav
from serving import ANYWHERE, here, run
from wire import sentences

from streamcab import classifier
from streamcab.source import libav
from streamcab.source.mixer import Mixer

pytestmark = pytest.mark.skipif(not libav.installed(), reason="pip install av")

RATE = 8000
ONE, OTHER = sounds.clip("us-2"), sounds.clip("us-4")[: 4 * RATE]
WIDE = soundfile.read(sounds.CLIPS / "us-2.ogg", dtype="float64")[0]
QUIET = np.zeros(24_000)
Sound = np.ndarray[Any, np.dtype[np.float64]]


def turns(first: bool) -> Sound:
    """One of two who speak by turns, and a faint noise while the other does."""
    both, parts = (sentences(ONE), sentences(sounds.clip("uk-3"))), []
    for k in range(4):
        some = both[k % 2]
        one = some[k // 2 % len(some)]
        parts += [one if (k % 2 == 0) == first else np.zeros(len(one)), np.zeros(2000)]
    x = np.concatenate(parts)
    return x + sounds.floor(len(x), -92)


def beside(left: Sound, right: Sound) -> Sound:
    n = max(len(left), len(right))
    return np.stack([np.pad(left, (0, n - len(left))), np.pad(right, (0, n - len(right)))], 1)


PAIRS = {
    "opposite.flac": lambda: beside(ONE, -ONE),
    "hum-second.flac": lambda: beside(sounds.clip("us-4"), sounds.level(sounds.hum(6.97), -9)),
    "two-voices.flac": lambda: beside(turns(True), turns(False)),
    "dead-second.flac": lambda: beside(ONE, np.zeros(8)),
}
CLEAN = {
    "one": ONE,
    "other": OTHER,
    "start": ONE[: round(0.57 * len(ONE))],
    "whole other": sounds.clip("us-4"),
    "left": turns(True),
    "right": turns(False),
}
EXPECTED = {
    # name: what it is heard as, its seconds, how far its answer may be off, what is said of it
    "quiet-first.mp3": ("one", 1.5 + 8.98, 0.1, ""),
    "loud-first.mp3": ("one", 25.0, 0.1, ""),
    "size-0.wav": ("other", 4.0, 0.01, "claims no samples"),
    "size-ffffffff.wav": ("other", 4.0, 0.01, ""),
    "size-larger.wav": ("other", 4.0, 0.01, "cut off after 4.00 s of 6.00 s"),
    "size-smaller.wav": ("other", 4.0, 0.01, "all of it is heard"),
    "aac.m4a": ("one", 8.98, 0.1, ""),
    "opus.webm": ("one", 8.98, 0.1, ""),
    "opposite.flac": ("one", 8.98, 0.01, "turned over"),
    "hum-second.flac": ("whole other", 6.97, 0.05, "channel 2 has noise"),
    "dead-second.flac": ("one", 8.98, 0.01, ""),
}


@cache
def clean(which: str) -> dict[str, Any]:
    answer = classifier.load().classify(int16(CLEAN[which]) / 32768, RATE)
    return {"probs": answer.probs, "voiced_s": answer.voiced_s}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of them."""
    home = tmp_path_factory.mktemp("arriving")
    mp3(home / "quiet-first.mp3", np.concatenate([QUIET, WIDE]))
    beep = 0.3 * sounds.white(2.0, 5)[:16_000]
    loud = np.concatenate([beep, WIDE, np.zeros(15 * 16_000)])[: 25 * 16_000]
    mp3(home / "loud-first.mp3", np.pad(loud, (0, 25 * 16_000 - len(loud))))
    data = int16(OTHER).tobytes()
    for name, size in (("0", 0), ("ffffffff", 2**32 - 1), ("larger", 96_000), ("smaller", 32_000)):
        (home / f"size-{name}.wav").write_bytes(wav(data, size=size))
    soundfile.write(home / "cut.flac", int16(ONE), RATE)
    whole = (home / "cut.flac").read_bytes()
    (home / "cut.flac").write_bytes(whole[: len(whole) * 6 // 10])
    encode(home / "aac.m4a", WIDE, 16_000, "aac", bit_rate=32_000)
    encode(home / "opus.webm", np.repeat(ONE, 6), 48_000, "libopus", bit_rate=24_000)
    (home / "raw.ulaw").write_bytes(companded(ONE, "PCMU"))
    for name, make in PAIRS.items():
        soundfile.write(home / name, int16(make()), RATE)
    return home


NAMES = [*EXPECTED, "cut.flac", "two-voices.flac"]


@pytest.fixture(scope="module")
def classified(folder: Path) -> tuple[dict[str, dict[str, Any]], str]:
    """The answers by name, and what was said."""
    done = run("classify", "--json", *(folder / name for name in NAMES))
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    return {Path(m["stream"]).name: m for m in told}, done.stderr.decode()


@pytest.fixture(scope="module")
def listened(folder: Path) -> tuple[dict[str, dict[str, Any]], str]:
    """The same, played."""
    files = [word for name in NAMES for word in ("--file", folder / name)]
    done = run("listen", *files, "--fast", "--json", "--endpoint", ANYWHERE, "--max-streams", "32")
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    last = {m["stream"]: m for m in told if m.get("kind") == "prediction" and m["probs"]}
    return {
        next(n for n in NAMES if Path(n).stem == name): m for name, m in last.items()
    }, done.stderr.decode()


@pytest.mark.parametrize("name", EXPECTED)
def test_a_file_is_heard_whole_and_as_clean(
    classified: tuple[dict[str, dict[str, Any]], str],
    listened: tuple[dict[str, dict[str, Any]], str],
    name: str,
) -> None:
    which, seconds, off, says = EXPECTED[name]
    want = clean(which)
    for answers, stderr in (classified, listened):
        got = answers[name]
        assert got["probs"] == pytest.approx(want["probs"], abs=off)
        assert got["heard_s"] == pytest.approx(want["voiced_s"], abs=0.35 if "loud" in name else 0.03 * 8)
        said = [line for line in stderr.splitlines() if Path(name).stem in line and "WARN" in line.upper()]
        assert any(says in line for line in said) if says else not said
    whole = classified[0][name]
    assert whole["sample"] / whole["rate"] == pytest.approx(seconds, abs=0.15)


def test_what_is_there_of_a_flac_that_was_cut_is_heard(
    classified: tuple[dict[str, dict[str, Any]], str], listened: tuple[dict[str, dict[str, Any]], str]
) -> None:
    for answers, stderr in (classified, listened):
        assert 4.5 < answers["cut.flac"]["sample"] / RATE < 6.5
        assert answers["cut.flac"]["probs"]
        assert stderr.count("cut off or damaged after") == 1


def test_unlike_channels_are_named_and_each_can_be_answered(
    classified: tuple[dict[str, dict[str, Any]], str], folder: Path
) -> None:
    assert "unlike-channels-1-2" in classified[0]["two-voices.flac"]["flaws"]
    done = here("classify", "--json", "--channel", "each", folder / "two-voices.flac")
    assert done.returncode == 0
    both = [json.loads(line) for line in done.stdout.splitlines()]
    for got, which in zip(both, ("left", "right"), strict=True):
        assert got["probs"] == pytest.approx(clean(which)["probs"], abs=0.01)


SECOND: dict[str, Callable[[float], sounds.Sound]] = {
    "hum that swells": lambda s: sounds.swelling(sounds.hum(s)),
    "wind": lambda s: sounds.wind(s, 1),
    "keyboard": lambda s: sounds.keyboard(s, 1),
    "busy tone": lambda s: sounds.cadence([((480, 620), 0.5), ((), 0.5)], s),
    "dialling": lambda s: sounds.dtmf("0123456789" * 10, s),
    "music": lambda s: sounds.music(s, 1),
}


@pytest.mark.parametrize("second", SECOND)
def test_what_is_no_speech_in_the_second_channel_drowns_nothing(second: str) -> None:
    talk = sounds.level(sounds.speech("us-2 uk-3"), -23)
    other = sounds.level(np.resize(SECOND[second](len(talk) / RATE), len(talk)), -13)
    mixer = Mixer("mix", 2, RATE)
    mix = np.concatenate([mixer.push(beside(talk, other).astype(np.float32)), mixer.finish()])[:, 0]
    model = classifier.load()
    want, got = (model.classify(x, RATE) for x in (talk.astype(np.float32), mix))
    assert got.probs == pytest.approx(want.probs, abs=0.06)
    assert got.heard_s == pytest.approx(want.heard_s, rel=0.05)
    assert set(mixer.flaws) == {"noisy-channel-2"}


def test_opposite_and_drowned_channels_are_flaws_and_dead_ones_none(
    classified: tuple[dict[str, dict[str, Any]], str],
) -> None:
    flaws = {name: set(m["flaws"]) - {"noisy"} for name, m in classified[0].items()}
    assert flaws["opposite.flac"] == {"channels-cancel-1-2"}
    assert flaws["hum-second.flac"] == {"noisy-channel-2"}
    assert flaws["dead-second.flac"] == set()


def test_bare_codes_are_refused_with_a_line_to_type(folder: Path) -> None:
    done = here("classify", folder / "raw.ulaw")
    assert done.returncode == 1
    assert b"ffmpeg -f mulaw -ar 8000 -ac 1 -i FILE out.wav" in done.stderr
