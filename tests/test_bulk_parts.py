"""Parts of a list: names made of their content, files that are whole or not there, tables."""

import csv
import json
from pathlib import Path

import pytest
from pyarrow import parquet

from streamcab.bulk import tables
from streamcab.bulk.listing import Entry
from streamcab.bulk.parts import FILES, INDEX, Store, cut, opened
from streamcab.bulk.row import Row
from streamcab.errors import ConfigError
from streamcab.message import Prediction

ENTRIES = [Entry(i, f"id{i}", f"/nowhere/{i}.wav", 100.0) for i in range(25)]


def test_parts_follow_one_another_and_have_the_length_that_is_asked_for() -> None:
    parts = cut(ENTRIES, "model", 600)
    assert [len(part.entries) for part in parts] == [6, 6, 6, 6, 1]
    assert [entry for part in parts for entry in part.entries] == ENTRIES
    many = cut([Entry(i, f"{i}", "x", 0.001) for i in range(FILES + 1)], "model")
    assert [len(part.entries) for part in many] == [FILES, 1]
    assert cut([], "model") == []


def test_the_name_of_a_part_is_what_it_holds_and_how_it_is_heard() -> None:
    names = [part.name for part in cut(ENTRIES, "model", 600)]
    assert len(set(names)) == len(names)
    assert [part.name for part in cut(ENTRIES, "model", 600)] == names
    assert not {part.name for part in cut(ENTRIES, "another", 600)} & set(names)
    moved = cut([*ENTRIES[:8], Entry(8, "id8", "/elsewhere/8.wav", 100.0), *ENTRIES[9:]], "model", 600)
    assert [part.name == name for part, name in zip(moved, names, strict=True)] == [
        True,
        False,
        True,
        True,
        True,
    ]


def answer(top: str | None = "us") -> Prediction:
    probs = {"us": 0.75, "uk": 0.25} if top else {}
    return Prediction(
        stream="a", time=0.0, sample=8000, rate=8000, labels=["us", "uk"], probs=probs, now={}, top=top,
        confidence=probs.get("us"), state="ended", window_s=1.0, voiced_s=0.5, heard_s=0.5, level_db=None, lag_ms=0.0,
        lost_ms=0.0, overflows=0, model="m", sure=True, flaws=["noisy", "narrow-band"],
    )  # fmt: skip


ROWS = [
    Row(number=0, id="1", path="a,b.wav", name="a,b.wav", end_s=1.0, answer=answer()),
    Row(number=1, id="2", path="c\nd.wav", name="c\nd.wav", error="c\nd.wav: no such file"),
    Row(
        number=2,
        id="3",
        path="e.wav",
        name="e.wav:2",
        channel="2",
        start_s=1.0,
        end_s=2.0,
        answer=answer(None),
    ),
]


def test_a_part_is_there_when_it_is_whole_and_comes_back_as_it_was(tmp_path: Path) -> None:
    store, (first, *others) = Store(tmp_path, ["us", "uk"]), cut(ENTRIES, "model", 600)

    def torn() -> None:
        def rows() -> object:
            yield ROWS[0]
            raise RuntimeError

        store.write(first, rows())  # type: ignore[arg-type]

    with pytest.raises(RuntimeError):
        torn()
    assert store.done([first, *others]) == []
    store.write(first, ROWS)
    store.write(first, ROWS)
    assert store.done([first, *others]) == [first]
    assert list(store.rows(first)) == ROWS
    assert store.errors([first]) == 1


def test_beginnings_are_counted_until_a_part_is_whole(tmp_path: Path) -> None:
    store, part = Store(tmp_path, []), cut(ENTRIES, "model")[0]
    assert [store.began(part) for _ in range(3)] == [0, 1, 2]
    store.write(part, [])
    assert store.began(part) == 0


def test_the_index_comes_last_and_names_the_parts_in_order(tmp_path: Path) -> None:
    store, parts = Store(tmp_path, ["us", "uk"], ".parquet"), cut(ENTRIES, "model", 600)
    for part in reversed(parts):
        store.began(part)
        store.write(part, ROWS)
    store.finish(parts, {"model": "m"})
    index = json.loads((tmp_path / INDEX).read_text())
    assert index == {"model": "m", "parts": [store.path(part).name for part in parts]}
    assert {path.name for path in tmp_path.iterdir()} == {*index["parts"], INDEX}
    assert store.errors(parts) == len(parts)
    assert parquet.read_table(store.path(parts[0]))["path"].to_pylist() == [row.path for row in ROWS]


def test_what_is_there_is_not_touched_unless_it_is_to_be_continued(tmp_path: Path) -> None:
    out = tmp_path / "answers.csv"
    opened(tmp_path / "parts", [], ".jsonl", resume=False, whole=out)
    (tmp_path / "parts" / "part-1.jsonl").touch()
    with pytest.raises(ConfigError, match="--resume continues it"):
        opened(tmp_path / "parts", [], ".jsonl", resume=False, whole=out)
    opened(tmp_path / "parts", [], ".jsonl", resume=True, whole=out)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be made"):
        opened(tmp_path / "file" / "parts", [], ".jsonl", resume=False, whole=out)


def test_the_tables_say_the_same(tmp_path: Path) -> None:
    for kind in tables.KINDS:
        tables.write(tmp_path / f"t{kind}", iter(ROWS), ["us", "uk"], kind)
    lines = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines == parquet.read_table(tmp_path / "t.parquet").to_pylist()
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    assert [{k: v or None for k, v in row.items()} for row in found] == [
        {k: None if v is None else str(v) for k, v in line.items()} for line in lines
    ]
    assert (lines[0]["p_us"], lines[0]["flaws"], lines[1]["top"]) == (0.75, "noisy narrow-band", None)


def test_a_table_of_another_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"\.csv, \.jsonl, \.parquet"):
        tables.check(Path("answers.xlsx"))
