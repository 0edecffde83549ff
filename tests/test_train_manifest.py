"""Manifests that are read, and those that are refused in one line with file and row."""

from pathlib import Path

import pytest
from corpus import make_corpus, write_manifest
from streamcab_train.manifest import read_manifest
from streamcab_train.recipe_keys import CorpusKeys

from streamcab.errors import CorpusError

MAP = {"us": "us", "england": "uk", "wales": "uk"}


def manifest_of(folder: Path, rows: list[list[str]], columns: str = "path,label,speaker") -> Path:
    """A manifest whose files exist, though empty: nobody opens them here."""
    for row in rows:
        if row[0] and not row[0].startswith("gone"):
            (folder / row[0]).touch()
    return write_manifest(folder / "m.csv", rows, columns)


def test_labels_are_mapped_and_other_rows_are_counted(tmp_path: Path) -> None:
    rows = [["a.wav", "england", "1"], ["b.wav", "us", "2"], ["c.wav", "wales", "3"]]
    rows += [
        ["d.wav", "canada", "4"],
        ["e.wav", "canada", "5"],
        ["f.wav", "", "6"],
        ["gone.wav", "jamaica", "7"],
    ]
    manifest = read_manifest(manifest_of(tmp_path, rows), CorpusKeys(labels=MAP))
    assert [(c.path, c.label, c.row) for c in manifest.clips] == [
        ("a.wav", "uk", 2),
        ("b.wav", "us", 3),
        ("c.wav", "uk", 4),
    ]
    assert manifest.labels == ("us", "uk")
    assert manifest.dropped == {"label canada": 2, "no label": 1, "label jamaica": 1}
    assert manifest.audio(manifest.clips[0]) == tmp_path / "a.wav"


def test_without_a_map_each_label_is_a_class(tmp_path: Path) -> None:
    rows = [["a.wav", "x", "1"], ["b.wav", "b", "2"], ["c.wav", "m", "3"]]
    assert read_manifest(manifest_of(tmp_path, rows), CorpusKeys()).labels == ("b", "m", "x")


def test_columns_have_the_names_that_the_recipe_gives(tmp_path: Path) -> None:
    file = manifest_of(tmp_path, [["a.wav", "x", "1"], ["b.wav", "y", "2"]], "file,accent,client")
    keys = CorpusKeys(path="file", label="accent", speaker="client")
    assert [c.speaker for c in read_manifest(file, keys).clips] == ["1", "2"]


GOOD = [["a.wav", "x", "1"], ["b.wav", "y", "2"]]


@pytest.mark.parametrize(
    ("rows", "keys", "says"),
    [
        ([*GOOD, ["gone.wav", "x", "3"]], CorpusKeys(), "row 4: no such file"),
        ([*GOOD, ["a.wav", "y", "3"]], CorpusKeys(), "row 4: a.wav stands in row 2 already"),
        ([*GOOD, ["c.wav", "x", ""]], CorpusKeys(), "row 4: no speaker"),
        ([*GOOD, ["", "x", "3"]], CorpusKeys(), "row 4: no path"),
        ([*GOOD, ["c.wav", "x", "3", "4"]], CorpusKeys(), "row 4: more fields than columns"),
        (GOOD, CorpusKeys(label="accent"), "no column 'accent', only path, label, speaker"),
        (GOOD, CorpusKeys(labels={"x": "x", "z": "z"}), "no row of class 'z'"),
        (GOOD[:1], CorpusKeys(), "two or more classes"),
        ([], CorpusKeys(), "two or more classes"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    tmp_path: Path, rows: list[list[str]], keys: CorpusKeys, says: str
) -> None:
    file = manifest_of(tmp_path, rows)
    with pytest.raises(CorpusError) as caught:
        read_manifest(file, keys)
    message = str(caught.value)
    assert says in message
    assert str(file) in message
    assert "\n" not in message


def test_rows_are_counted_as_an_editor_counts_lines(tmp_path: Path) -> None:
    rows = [["a.wav", "x", "two\nlines"], ["gone.wav", "y", "2"]]
    with pytest.raises(CorpusError, match="row 4"):
        read_manifest(manifest_of(tmp_path, rows), CorpusKeys())


def test_a_split_column_must_name_a_part(tmp_path: Path) -> None:
    file = manifest_of(tmp_path, [[*GOOD[0], "train"], [*GOOD[1], "dev"]], "path,label,speaker,part")
    with pytest.raises(CorpusError, match=r"row 3: part is 'dev'; it can be train, validation, test"):
        read_manifest(file, CorpusKeys(split="part"))


def test_speakers_may_be_unknown_only_when_that_is_asked_for(tmp_path: Path) -> None:
    file = manifest_of(tmp_path, [["a.wav", "x"], ["b.wav", "y"]], "path,label")
    with pytest.raises(CorpusError, match=r"no column 'speaker'.*--allow-shared-speakers"):
        read_manifest(file, CorpusKeys())
    assert [c.speaker for c in read_manifest(file, CorpusKeys(), speakers=False).clips] == ["", ""]


def test_a_manifest_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="cannot read the manifest"):
        read_manifest(tmp_path / "none.csv", CorpusKeys())
    (tmp_path / "m.csv").write_bytes(b"path,label,speaker\n\xff\xfe\n")
    with pytest.raises(CorpusError, match="is not a CSV file in UTF-8"):
        read_manifest(tmp_path / "m.csv", CorpusKeys())


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    file = make_corpus(tmp_path, speakers=1, seconds=0.1)
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert len(read_manifest(file, CorpusKeys()).clips) == 2
