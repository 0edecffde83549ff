"""The same recording twice: found in any disguise, on one side of every split, and known again by a model."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from corpus import make_corpus, syllables, write_manifest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from speech import noise, talk
from streamcab_train.evaluate import evaluate
from streamcab_train.folds import train_folds
from streamcab_train.manifest import Clip
from streamcab_train.recipe_keys import SplitKeys
from streamcab_train.run import train
from streamcab_train.split import fold_clips, split_clips
from streamcab_train.twins import Twins, find_twins, fingerprint, taught_on, units, was_taught

from streamcab.errors import CorpusError
from streamcab.inference.offline import features
from streamcab.nn.architecture import Architecture

ARCH = Architecture(("uk", "us"))
SMOKE = Path(__file__).parent.parent / "configs" / "smoke.toml"
COLUMNS = "file,label,voice"


def found_in(sounds: list[np.ndarray]) -> Twins:
    """The twins among sounds of 8 kHz."""
    heard = [features(x, 8000, ARCH).x[0].reshape(-1, ARCH.interval) for x in sounds]
    return find_twins([fingerprint(x, 8000) for x in sounds], heard.__getitem__)


def through(x: np.ndarray, format: str, subtype: str, rate: int = 8000) -> np.ndarray:
    file = io.BytesIO()
    soundfile.write(file, x, rate, format=format, subtype=subtype)
    file.seek(0)
    return soundfile.read(file, dtype="float32")[0]


TALKS = [talk(8, seed=s) for s in range(6)]
DISGUISES = {
    "a copy": lambda x: x,
    "a WAV of the FLAC": lambda x: through(x, "WAV", "PCM_16"),
    "softer": lambda x: 0.3 * x,
    "mu-law": lambda x: through(x, "WAV", "ULAW"),
    "MP3": lambda x: through(x, "MP3", "MPEG_LAYER_III")[: len(x)],
    "Opus": lambda x: through(x, "OGG", "OPUS")[: len(x)],
    "in noise": lambda x: x + noise(8, rms=0.01),
    "50 ms later": lambda x: np.concatenate([np.zeros(400, np.float32), x])[: len(x)],
}


@pytest.mark.parametrize("how", DISGUISES)
def test_a_recording_is_known_in_any_disguise(how: str) -> None:
    whole = [through(x, "FLAC", "PCM_16") for x in TALKS]
    twins = found_in([*whole, DISGUISES[how](whole[2])])
    assert twins.first == (0, 1, 2, 3, 4, 5, 2)
    assert twins.near[6] == (how not in ("a copy", "a WAV of the FLAC"))


def test_other_recordings_are_no_twins() -> None:
    assert found_in(TALKS).count == 0
    assert found_in([]).count == 0
    assert found_in([np.zeros(800, np.float32)]).count == 0
    # The same syllables in another voice.
    assert found_in([syllables(pitch, 4, 8000, 1) for pitch in (100, 130, 200)]).count == 0


def test_samples_are_compared_to_16_bits_and_at_their_rate() -> None:
    x = TALKS[0]
    assert fingerprint(x, 8000) == fingerprint(through(x, "WAV", "FLOAT"), 8000)
    assert fingerprint(x, 8000) != fingerprint(x, 16000)
    assert fingerprint(x, 8000) != fingerprint(x[:-1], 8000)


@pytest.mark.parametrize("loud", [1.0, 0.1, 0.02])
@pytest.mark.parametrize("bits", ["PCM_16", "PCM_24", "FLOAT"])
def test_a_copy_with_fewer_bits_is_the_same_recording(loud: float, bits: str) -> None:
    """The original has all bits of float32; also of clips too short to compare how they rise and fall."""
    original = [(loud * talk(s, seed=n)).astype(np.float32) for n, s in enumerate((1.5, 4, 4))]
    copies = [through(x, "FLAC" if bits != "FLOAT" else "WAV", bits) for x in original]
    deep = [through(x, "FLAC", "PCM_24") for x in original]
    twins = found_in([*original, *copies, *deep])
    assert twins.first == (0, 1, 2) * 3
    assert not any(twins.near)
    card = {"taught_on": taught_on([fingerprint(x, 8000) for x in original[:2]], "salt")}
    for some in (copies, deep):
        assert [was_taught(card, fingerprint(x, 8000)) for x in some] == [True, True, False]


def test_steady_noise_is_like_no_other() -> None:
    assert found_in([noise(4, seed=1), noise(4, seed=2)]).count == 0


def clips_of(voices: list[int], label: str = "us") -> list[Clip]:
    return [Clip(f"{i}.wav", label, f"v{v}", "", i + 2) for i, v in enumerate(voices)]


def test_the_line_has_the_rows_and_what_differs() -> None:
    clips = [Clip("a", "us", "a", "", 2), Clip("b", "uk", "b", "", 3), Clip("c", "uk", "alias", "", 9)]
    twins = Twins((0, 1, 1), (False, False, False))
    assert twins.in_words(clips) == "1 recording is the same as others (row 9 is 3 (b/alias))"
    many = Twins((0,) * 20, (False,) * 10 + (True,) * 10)
    assert "and 11 more" in many.in_words(clips_of([0] * 20))
    assert Twins().in_words([]) == ""


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 8), min_size=40, max_size=60),
    st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39)), max_size=4),
    st.booleans(),
)
def test_twins_and_speakers_stand_on_one_side(
    voices: list[int], pairs: list[tuple[int, int]], shared: bool
) -> None:
    first = list(range(len(voices)))
    for a, b in pairs:
        low, high = sorted((first[a], first[b]))
        first = [low if k == high else k for k in first]
    twins = Twins(tuple(first), (False,) * len(first))
    clips = clips_of(voices)
    own = units(clips, twins, shared)
    if len(set(own)) < 3:
        return
    parts = split_clips(clips, SplitKeys(), shared=shared, twins=twins)
    for i, k in enumerate(first):
        assert parts[i] == parts[k]
    if not shared:
        sides = {(clip.speaker, part) for clip, part in zip(clips, parts, strict=True)}
        assert len(sides) == len({clip.speaker for clip in clips})


def test_without_twins_splits_are_as_they_were() -> None:
    clips = clips_of([0, 1, 2, 3, 4, 5, 6, 7] * 5)
    none = Twins(tuple(range(40)), (False,) * 40)
    assert split_clips(clips, SplitKeys(), twins=none) == split_clips(clips, SplitKeys())
    assert fold_clips(clips, SplitKeys(), 3, 0, none) == fold_clips(clips, SplitKeys(), 3, 0)


def test_a_manifest_that_splits_twins_is_refused() -> None:
    parts = ("train", "validation", "test", "test")
    clips = [Clip(f"{i}.wav", "us", f"v{i}", part, i + 2) for i, part in enumerate(parts)]
    with pytest.raises(
        CorpusError, match="row 4 is the same recording as row 2, and one is for test, the other"
    ):
        split_clips(clips, SplitKeys(), twins=Twins((0, 1, 0, 3), (False,) * 4))


def test_a_card_knows_what_was_taught_and_does_not_list_it() -> None:
    told = [fingerprint(x, 8000) for x in TALKS]
    card: dict[str, Any] = {"taught_on": taught_on(told[:3], "salt of a model")}
    assert [was_taught(card, one) for one in told] == [True] * 3 + [False] * 3
    marks = {mark for one in told for mark in one.split("-")}
    assert not marks & set(card["taught_on"]["recordings"])
    assert not set(taught_on(told, "another")["recordings"]) & set(card["taught_on"]["recordings"])
    assert not was_taught({}, told[0])


# --- whole runs ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus whose first recording stands there four times, under other labels and speakers."""
    home = tmp_path_factory.mktemp("twins")
    torch.set_num_threads(1)
    data = make_corpus(home / "corpus", speakers=5, columns=COLUMNS)
    rows = [line.split(",") for line in data.read_text(encoding="utf-8").splitlines()[1:]]
    name, label, _ = rows[0]
    sound, rate = soundfile.read(home / "corpus" / name)
    soundfile.write(home / "corpus" / "flac.flac", sound, rate)
    (home / "corpus" / "copy.wav").write_bytes((home / "corpus" / name).read_bytes())
    (home / "corpus" / "link.wav").symlink_to(name)
    other = next(row[1] for row in rows if row[1] != label)
    more = [
        [f"./{name}", other, "a"],
        ["copy.wav", label, "b"],
        ["link.wav", label, "c"],
        ["flac.flac", label, "d"],
    ]
    write_manifest(home / "corpus" / "twice.csv", [*rows, *more], COLUMNS)
    return home


def go(home: Path, data: str, **keys: Any) -> str:
    text = io.StringIO()
    given: dict[str, Any] = {"threads": 1, "cache": home / "cache", "console": Console(file=text, width=400)}
    overrides = {"training.epochs": 1}
    train(home / "corpus" / data, SMOKE, home / keys.pop("out"), overrides=overrides, **(given | keys))
    return text.getvalue()


def test_training_says_it_in_one_line_and_keeps_them_on_one_side(home: Path) -> None:
    text = go(home, "twice.csv", out="run")
    (line,) = [line for line in text.splitlines() if "the same as others" in line]
    assert line.startswith("4 recordings are the same as others (row 12 is 2 (")
    assert line.endswith("they are kept on one side of the split (--strict refuses them)")
    assert "the same as others" not in go(home, "manifest.csv", out="plain")


def test_strict_refuses_them(home: Path) -> None:
    with pytest.raises(CorpusError, match="4 recordings are the same as others"):
        go(home, "twice.csv", out="strict", strict=True)
    go(home, "manifest.csv", out="strict-plain", strict=True)


def test_folds_keep_them_together(home: Path) -> None:
    text = io.StringIO()
    data = home / "corpus" / "twice.csv"
    console = Console(file=text, width=400)
    overrides = {"training.epochs": 1}
    train_folds(data, SMOKE, home / "folds", 3, 1, overrides=overrides, cache=home / "cache", console=console)
    assert "4 recordings are the same as others" in text.getvalue()
    with pytest.raises(CorpusError, match="the same as others"):
        train_folds(
            data, SMOKE, home / "strict-folds", 3, 1, cache=home / "cache", strict=True, console=console
        )


def test_evaluate_knows_what_its_model_was_taught_on(home: Path) -> None:
    go(home, "manifest.csv", out="model")
    model = home / "model" / "model.safetensors"
    rows = (home / "corpus" / "manifest.csv").read_text(encoding="utf-8").splitlines()[1:]
    renamed = [[*row.split(",")[:2], f"new {i}"] for i, row in enumerate(rows)]
    data = write_manifest(home / "corpus" / "renamed.csv", renamed, COLUMNS)
    quiet = Console(file=io.StringIO())
    given: dict[str, Any] = {"split": "all", "draws": 10, "threads": 1, "console": quiet}
    with pytest.raises(CorpusError, match=r"renamed.csv row \d+: the model was trained on this recording"):
        evaluate(data, model, home / "cache", **given)
    report = evaluate(data, model, home / "cache", allow_shared=True, **given)
    assert report["data"]["clips"] == len(rows)
