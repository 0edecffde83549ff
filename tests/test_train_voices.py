"""Who teaches and who judges: never the same group, a third of each corpus and class, accents left out whole."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from accents import KEYS
from streamcab_train.voices import NO_CLASS, deal, dealt, read_voices

from streamcab.errors import ConfigError, CorpusError

CLASSES = {"us": 0, "england": 1, "wales": 1}


def corpus(folder: Path, rows: list[str], header: str = "path,corpus,group,accent") -> Path:
    folder.mkdir(exist_ok=True)
    for row in rows:
        (folder / row.split(",")[0]).write_bytes(b"")
    file = folder / "manifest.csv"
    file.write_text("\n".join([header, *rows]) + "\n")
    return file


def many(folder: Path) -> Path:
    accents = {"us": 12, "england": 6, "wales": 3, "french": 4, "korean": 4, "": 5}
    rows = [
        f"{accent or 'none'}{g}{clip}.wav,{part},{accent or 'none'}{g},{accent}"
        for part in ("a",)
        for accent, groups in accents.items()
        for g in range(groups)
        for clip in range(2)
    ]
    return corpus(folder, rows)


def test_a_third_of_the_groups_of_each_class_judges_and_teaches_nothing(tmp_path: Path) -> None:
    voices = read_voices(many(tmp_path / "c"), CLASSES)
    parts = deal(voices, 7, strangers={"french"}, left_out={"korean"})
    labels, groups = np.array([v.label for v in voices]), np.array([v.group for v in voices])
    for label, judged, taught in ((0, 4, 8), (1, 3, 6)):
        assert len(set(groups[parts.judges & (labels == label)])) == judged
        assert len(set(groups[parts.teaches & (labels == label)])) == taught
    assert not set(groups[parts.judges]) & set(groups[parts.teaches])
    accents = np.array([v.accent for v in voices])
    assert set(accents[parts.left_out]) == {"korean"}
    assert not (parts.teaches & parts.left_out).any()
    assert set(accents[parts.stranger]) == {"french"}
    assert (labels[accents == "french"] == NO_CLASS).all()


def test_the_seed_says_all(tmp_path: Path) -> None:
    voices = read_voices(many(tmp_path / "c"), CLASSES)
    one, same, other = (deal(voices, seed, strangers=(), left_out=()).judges for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_a_manifest_without_corpus_or_group_has_its_folder_and_speakers(tmp_path: Path) -> None:
    file = corpus(tmp_path / "saa", ["x.flac,us,us1"], "path,accent,speaker")
    (voice,) = read_voices(file, CLASSES)
    assert (voice.corpus, voice.group, voice.label) == ("saa", "saa:us1", 0)


@pytest.mark.parametrize(
    ("rows", "header", "words"),
    [
        (["x.wav,us"], "path,accent", "row 2: no group or speaker"),
        ([",a,b,us"], "path,corpus,group,accent", "row 2: no path"),
    ],
)
def test_what_is_wrong_is_said_with_its_row(tmp_path: Path, rows: list[str], header: str, words: str) -> None:
    file = tmp_path / "manifest.csv"
    file.write_text("\n".join([header, *rows]) + "\n")
    with pytest.raises(CorpusError, match=words):
        read_voices(file, CLASSES)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    file = corpus(tmp_path / "c", ["x.wav,a,b,us"])
    (tmp_path / "c" / "x.wav").unlink()
    with pytest.raises(CorpusError, match=r"row 2: no such file"):
        read_voices(file, CLASSES)
    with pytest.raises(CorpusError, match="cannot read the manifest"):
        read_voices(tmp_path / "none.csv", CLASSES)


def test_a_recipe_has_the_clips_of_its_corpora_alone(tmp_path: Path) -> None:
    manifests = [many(tmp_path / "a"), corpus(tmp_path / "b", ["x.wav,b,1,us", "y.wav,b,2,french"])]
    voices, parts = dealt(msgspec.structs.replace(KEYS, corpora=("b",)), manifests)
    assert [v.group for v in voices] == ["b:1", "b:2"]
    assert parts.stranger.tolist() == [False, True]
    assert len(dealt(KEYS, manifests)[0]) == 70
    with pytest.raises(ConfigError, match="no clip is of the recipe's corpora: e"):
        dealt(msgspec.structs.replace(KEYS, corpora=("e",)), manifests)
