"""Lists of files: folders, globs, manifests with odd rows, doubles."""

from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from streamcab.bulk.listing import Entry, listed
from streamcab.errors import ConfigError


def paths(*words: str | Path) -> list[str]:
    return [entry.path for entry in listed(map(str, words)).entries]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.wav", "a.FLAC", "deep/c.mp3", ".hidden/d.wav", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_a_folder_is_its_audio_in_order(folder: Path) -> None:
    assert paths(folder) == [str(folder / name) for name in ("a.FLAC", "b.wav", "deep/c.mp3")]


def test_a_glob_is_what_matches_in_order(folder: Path) -> None:
    assert paths(f"{folder}/**/*.[wm]*") == [str(folder / "b.wav"), str(folder / "deep/c.mp3")]


def test_what_is_listed_twice_stands_there_once(folder: Path) -> None:
    found = listed([str(folder / "b.wav"), str(folder), f"{folder}/b*"])
    assert [Path(entry.path).name for entry in found.entries] == ["b.wav", "a.FLAC", "c.mp3"]
    assert [entry.number for entry in found.entries] == [0, 1, 2]
    assert found.doubles == 2


def test_a_word_that_names_nothing_is_an_error_among_the_files(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    found = listed([f"{tmp_path}/*.wav", f"{tmp_path}/empty", "missing.wav"]).entries
    assert ["nothing matches" in found[0].error, "no audio files" in found[1].error, found[2].error] == [
        True,
        True,
        "",
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_manifest_with_odd_rows(tmp_path: Path, encoding: str, delimiter: str) -> None:
    lines = [
        ["Accent", " Path ", "id", "seconds"],
        ["us", "a.wav", "1", "2.5"],
        ["uk", "", "2", "3"],
        ["uk", '"b c.wav"', "", "soon"],
        [],
        ["short"],
        ["us", "/abs/d.wav", "4", "-1", "more", "cells"],
        ["us", "a.wav", "1", "2.5"],
        ["us", "a.wav", "another", "nan"],
    ]
    text = "\r\n".join(delimiter.join(line) for line in lines)
    (tmp_path / "list.csv").write_bytes(text.encode(encoding))
    found = listed([str(tmp_path / "list.csv")])
    a, b = str(tmp_path / "a.wav"), str(tmp_path / "b c.wav")
    told = [(e.id, e.path, e.seconds) for e in found.entries if not e.error]
    assert told == [("1", a, 2.5), (b, b, None), ("4", "/abs/d.wav", None), ("another", a, None)]
    assert [e.error.rpartition(", ")[2] for e in found.entries if e.error] == [
        "line 3: names no file",
        "line 6: names no file",
    ]
    assert found.doubles == 1


def test_lines_of_json_with_odd_rows(tmp_path: Path) -> None:
    lines = ['{"audio": "a.wav", "id": 7}', "", '"b.wav"', "[1]", "{broken", '{"path": 3}', "null"]
    (tmp_path / "list.jsonl").write_text("\n".join(lines))
    found = listed([str(tmp_path / "list.jsonl")]).entries
    assert [(e.id, Path(e.path).name) for e in found if not e.error] == [
        ("7", "a.wav"),
        (str(tmp_path / "b.wav"), "b.wav"),
    ]
    assert [e.error.rpartition(", ")[2].partition(":")[0] for e in found if e.error] == [
        f"line {n}" for n in (4, 5, 6, 7)
    ]


def test_parquet(tmp_path: Path) -> None:
    table = pyarrow.table({"file": ["a.wav", None], "id": [1, 2], "seconds": [2.0, None], "x": [[1], [2]]})
    parquet.write_table(table, tmp_path / "list.parquet")
    first, second = listed([str(tmp_path / "list.parquet")]).entries
    assert first == Entry(0, "1", str(tmp_path / "a.wav"), 2.0)
    assert second.error.endswith("row 2: names no file")


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("a.csv", b"name,accent\nx,us\n", "no column `path`"),
        ("a.csv", b"", "no column `path`"),
        ("a.csv", b"path\n\xff\xfe\xfa", "neither UTF-8"),
        ("a.parquet", b"no parquet at all", "a.parquet"),
        ("missing.csv", None, "cannot be read"),
    ],
)
def test_a_manifest_that_is_none_is_refused(
    tmp_path: Path, name: str, content: bytes | None, word: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=word):
        listed([str(tmp_path / name)])
