"""The tables of the accuracy page: what is asked, what is counted, and a model that is asked as it is served."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from speech import talk
from streamcab_train.asked import Asked, Predicted, joined, pieces
from streamcab_train.context_keys import ContextKeys, ModelKeys, StageKeys
from streamcab_train.held_out import figures, judge, strangers
from streamcab_train.voices import read_voices

import streamcab
from streamcab.nn.confidence import Confidence

LABELS = ("us", "uk", "australia")
KEYS = ContextKeys(
    classes={"us": "us", "england": "uk", "australia": "australia"},
    model=ModelKeys(stages=((8, 16, 16, 8),), trunk=((3, 1, 1),), trunk_hidden=8),
    stages=(StageKeys("frames", steps=1, learning_rate=1e-3, frames=1.0),),
    left_out=("korean",),
)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    rows = ["path,accent,speaker"]
    for k, accent in enumerate(("us", "england", "australia", "korean")):
        for voice in range(3):
            for clip in range(2):
                name = f"{accent}{voice}{clip}.wav"
                soundfile.write(folder / name, talk(2.0, 8000, 10 * k + voice), 8000)
                rows.append(f"{name},{accent},{accent}{voice}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / "manifest.csv"


def test_clips_are_joined_within_a_group_and_what_is_left_over_is_dropped(manifest: Path) -> None:
    voices = read_voices(manifest, {"us": 0, "england": 1})
    for seconds, each in ((2.0, 2), (4.0, 1), (5.0, 0)):
        found = list(joined(voices[:6], seconds))
        assert len(found) == 3 * each
        assert all(len(item.audio[0]) >= seconds * item.audio[1] for item in found)
    first = next(iter(joined(voices, 4.0)))
    whole = [soundfile.read(voice.path, dtype="float32")[0] for voice in voices if voice.group == first.group]
    np.testing.assert_array_equal(first.audio[0], np.concatenate(whole))


def test_a_clip_falls_into_whole_pieces(manifest: Path) -> None:
    voices = read_voices(manifest, {"us": 0})[:1]
    assert [len(item.audio[0]) for item in pieces(voices, 0.75)] == [6000, 6000]


def test_figures_of_a_row() -> None:
    p = np.array([[0.9, 0.05, 0.05], [0.4, 0.5, 0.1], [0.1, 0.8, 0.1], [0.2, 0.5, 0.3]])
    other = np.array([0.1, 0.1, 0.6, 0.1])
    heard = Predicted(p, other, np.array([0, 0, 1, 2]), ("a", "b", "c", "d"))
    found = figures(heard, LABELS, Confidence(abstain_below=0.7))
    assert found["clips"] == [2, 1, 1]
    assert found["recall"] == [0.5, 1.0, 0.0]
    assert found["uar"] == 0.5
    assert found["answered"] == 0.5
    assert found["right"] == 1.0
    assert found["auc"] == {"us/uk": 1.0, "us/australia": 1.0, "uk/australia": 1.0}
    assert found["uar_95"] is None
    limited = figures(heard, LABELS, Confidence(abstain_below=0.7, abstain_other=0.5))
    assert limited["answered"] == 0.25
    assert limited | {"answered": 0.5} == found


def test_strangers_are_told_by_the_largest_probability() -> None:
    unsaid = np.full(2, np.nan)
    inside = Predicted(np.array([[0.9, 0.1], [0.7, 0.3]]), unsaid, np.array([0, 1]), ("a", "b"))
    outside = Predicted(np.array([[0.85, 0.15], [0.6, 0.4]]), unsaid, np.array([-1, -1]), ("c", "d"))
    found = strangers(inside, outside, Confidence(abstain_below=0.65, abstain_other=0.5))
    assert found == {"clips": [2, 2], "auroc": 0.75, "named": 0.5, "named_0.8": 0.5}


def test_a_stranger_beyond_the_limit_of_other_gets_no_label() -> None:
    p, nobody = np.array([[0.9, 0.1], [0.7, 0.3], [0.7, 0.3]]), np.array([-1, -1, -1])
    inside = Predicted(p, np.array([0.1, 0.2, 0.7]), np.array([0, 1, 0]), ("a", "b", "c"))
    outside = Predicted(p, np.array([0.8, 0.9, 0.3]), nobody, ("d", "e", "f"))
    found = strangers(inside, outside, Confidence(abstain_below=0.65, abstain_other=0.5))
    assert found == {"clips": [3, 3], "auroc": 0.5, "auroc_other": 0.889, "named": 0.333, "named_0.8": 0.0}


def test_every_table_of_a_model(manifest: Path) -> None:
    said: list[object] = []
    found = judge(Asked(streamcab.load()), KEYS, [manifest], [manifest], said.append)
    name = manifest.parent.name
    assert found[name]["clips"] == [6, 6, 6]
    assert f"{name} joined to 10 s" not in found
    assert found[f"strangers of {name}"]["clips"] == [18, 6]
    assert found["strangers"]["clips"] == [6, 6]
    assert 0 <= found["strangers"]["auroc_other"] <= 1
    assert sum(str(line).startswith(f"| {name} |") for line in said) == 2
