"""The history of the page: a real store, by day and hour, accent, source and name; CSV; what cannot be asked."""

import csv
import io
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import web_feed as feed
from called import NOON, Line, one_call
from web_page import Page, page

from streamcab.calls import Tally
from streamcab.store.database import url_of
from streamcab.store.writer import Keep, Writer
from streamcab.web.serve import Access

DAY_S = 86_400.0
KEEP = Keep(calls_s=1e9, pieces_s=1e9, min_free_bytes=0)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A page whose store has 150 calls on one day and one on the next."""
    file = tmp_path_factory.mktemp("store") / "calls.db"
    with Writer(url_of(str(file)), "r1", KEEP) as writer:
        tally = Tally(writer)
        for n in range(150):
            one_call(
                tally, f"=call-{n}" if n == 7 else f"call-{n}", NOON + n * 60, 25, top="uk" if n % 3 else None
            )
        line = Line(tally, "late", NOON + DAY_S)
        line.talk(10)
        line.talk(2, voice=2)
        line.hang_up()
    with page(Access(store=str(file)), [feed.model()]) as served:
        yield served


def asked(one: Page, question: str, status: int = 200) -> dict[str, Any]:
    answer = one.get(f"/api/history?{question}")
    assert answer.status == status, answer.read()
    found: dict[str, Any] = json.loads(answer.read())
    return found


def days() -> str:
    from datetime import UTC, datetime

    first = datetime.fromtimestamp(NOON, UTC).date()
    last = datetime.fromtimestamp(NOON + DAY_S, UTC).date()
    return f"from={first}&to={last}&tz=UTC"


def test_pages_of_calls_the_newest_first(one: Page) -> None:
    first = asked(one, days())
    assert (first["count"], len(first["calls"]), first["calls"][0]["name"]) == (151, 100, "late")
    second = asked(one, f"{days()}&after={quote(first['after'])}")
    assert len(second["calls"]) == 51
    assert "after" not in second
    names = [call["name"] for call in first["calls"] + second["calls"]]
    assert len(set(names)) == 151
    assert f"from={first['from']}&to={first['to']}&tz={first['zone']}" == days()


def test_counts_by_day_and_hour_and_what_can_be_chosen(one: Page) -> None:
    found = asked(one, days())
    assert sum(count for _, _, count in found["counts"]) == 151
    assert len({at for at, _, _ in found["counts"]}) == 2
    assert dict(found["accents"]) == {"uk": 101, None: 50}
    assert found["labels"] == ["us", "uk"], "the model's order, which gives the colours"
    hourly = asked(one, f"{days()}&by=hour")
    assert len({at for at, _, _ in hourly["counts"]}) > 2
    assert sum(count for _, _, count in hourly["counts"]) == 151


def test_days_and_hours_without_a_call_have_their_place(one: Page) -> None:
    from datetime import UTC, datetime, timedelta

    first = datetime.fromtimestamp(NOON, UTC).date()
    week = f"from={first - timedelta(3)}&to={first + timedelta(3)}&tz=UTC"
    places = asked(one, week)["places"]
    assert [round(b - a) for a, b in itertools.pairwise(places)] == [86_400] * 6
    hourly = asked(one, f"{week}&by=hour")
    assert (len(hourly["places"]), hourly["places"][0]) == (7 * 24, places[0])
    assert {at for at, _, _ in hourly["counts"]} < set(hourly["places"])


@pytest.mark.parametrize(("first", "hours"), [("2027-03-28", 23), ("2027-10-31", 25), ("2027-01-01", 24)])
def test_a_day_of_another_length_has_as_many_hours(one: Page, first: str, hours: int) -> None:
    found = asked(one, f"from={first}&to={first}&tz=Europe/Berlin&by=hour")
    assert len(found["places"]) == hours
    assert len(asked(one, f"from={first}&to={first}&tz=Europe/Berlin")["places"]) == 1


def test_filters(one: Page) -> None:
    assert asked(one, f"{days()}&top=uk")["count"] == 101
    assert asked(one, f"{days()}&top=")["count"] == 50
    assert asked(one, f"{days()}&name=call-1*")["count"] == 61
    assert asked(one, f"{days()}&source=nowhere")["count"] == 0


@pytest.mark.parametrize(
    "question",
    ["tz=Nowhere/Land", "tz=../../etc/passwd", "from=yesterday", "from=2020-01-01&to=2026-01-01",
     "from=2026-01-02&to=2026-01-01", "after=x", "to=0001-01-01", "by=week", "from=2026-01-01&to=9999-12-31"],
)  # fmt: skip
def test_a_question_that_cannot_be_answered_says_why(one: Page, question: str) -> None:
    assert asked(one, question, 400)["error"]


def test_a_stored_call_has_its_course(one: Page) -> None:
    late = asked(one, days())["calls"][0]
    found = json.loads(one.get(f"/api/history/call/{late['id']}").read())
    assert (found["name"], found["state"], found["top"]) == ("late", "ended", "uk")
    assert found["labels"] == ["us", "uk"]
    assert found["course"]["t"][0] == 0.0
    assert sum(found["course"]["step"]) == pytest.approx(12.0)
    assert found["course"]["probs"][0] == [50, 150]
    assert found["course"]["voice"] == [1, 2]
    assert found["told"]["by"] == "since before"
    assert len(found["told"]["moved"]) == len(found["course"]["t"])
    assert one.get("/api/history/call/1").status == 404


def test_csv_has_every_call_and_no_formula(one: Page) -> None:
    answer = one.get(f"/api/history.csv?{days()}")
    assert "attachment" in answer.headers["Content-Disposition"]
    lines = list(csv.DictReader(io.StringIO(answer.read().decode())))
    assert len(lines) == 151
    assert "'=call-7" in [line["name"] for line in lines]
    assert lines[0]["began"].endswith("+00:00")


def test_parquet_has_the_same_calls(one: Page) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra parquet")
    assert asked(one, days())["files"] == ["csv", "parquet"]
    answer = one.get(f"/api/history.parquet?{days()}&top=uk")
    assert answer.headers["Content-Disposition"].endswith('streamcab-calls.parquet"')
    table = parquet.read_table(io.BytesIO(answer.read()))
    assert table.num_rows == 101
    assert set(table.column("top").to_pylist()) == {"uk"}
    assert one.get(f"/api/history.parquet?{days()}&tz=Nowhere").status == 400


def test_what_a_platform_says_is_shown_and_finds_the_call(tmp_path: Path) -> None:
    file = tmp_path / "calls.db"
    with Writer(url_of(str(file)), "r1", KEEP) as writer:
        tally = Tally(writer)
        for n in range(3):
            line = Line(tally, f"stream-{n}", NOON + n)
            line.talk(12)
            line.hang_up(call={"call": f"CA{n}", "platform": "twilio"})
    with page(Access(store=str(file))) as served:
        (found,) = asked(served, f"{days()}&name=CA1")["calls"]
        assert (found["name"], found["platform"]) == ("stream-1", {"call": "CA1", "platform": "twilio"})
        whole = json.loads(served.get(f"/api/history/call/{found['id']}").read())
        assert whole["platform"]["call"] == "CA1"


def test_a_store_that_is_not_there_costs_the_history_only(tmp_path: Path) -> None:
    with page(Access(store=str(tmp_path / "none.db")), [feed.model()]) as served:
        assert served.get("/api/history").status == 503
        assert served.get("/api/call/1").status == 200


def test_without_a_store_there_is_no_history() -> None:
    with page() as served:
        assert served.get("/api/history").status == 404
        assert json.loads(served.get("/api/about").read()) == {"history": False}
