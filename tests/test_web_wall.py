"""The table behind the page: calls that begin, change and end; what a tick tells; bounds."""

from typing import Any

import msgspec
import web_feed as feed

from streamcab.web import wall as walls
from streamcab.web.line import LONGEST, STATES
from streamcab.web.wall import Wall, encode

LIVE, SILENT, LOST, ENDED = (STATES.index(word) for word in ("live", "silent", "lost", "ended"))


class Copy:
    """What a browser knows from ticks alone."""

    def __init__(self) -> None:
        self.labels: list[str] = []
        self.rows: dict[int, Any] = {}
        self.intros: dict[int, Any] = {}

    def take(self, tick: dict[str, Any]) -> None:
        tick = msgspec.json.decode(encode(tick))
        if tick.get("whole"):
            self.rows.clear()
            self.intros.clear()
        self.labels = tick.get("labels", self.labels)
        self.intros.update({intro[0]: intro for intro in tick.get("new", [])})
        self.rows.update({row[0]: row for row in tick["rows"]})
        for id in tick.get("gone", []):
            del self.rows[id], self.intros[id]


def test_a_call_appears_with_its_answer_and_only_changes_are_told() -> None:
    wall, copy = Wall(), Copy()
    wall.take([feed.model(), feed.status(source="file a.wav"), feed.answer(at_s=5.0)], 1.0)
    copy.take(wall.tick(1.0, 1005.0))
    assert copy.labels == feed.LABELS
    assert copy.intros == {1: [1, "mic", "file a.wav", 1000.0, {}]}
    assert copy.rows == {1: [1, LIVE, 0, 70, None, 2, 0, [], [70, 20, 10], None]}
    wall.take([feed.answer(at_s=5.1)], 1.1)
    assert wall.tick(1.5, 1005.5)["rows"] == []
    wall.take([feed.answer(at_s=6.5, probs=(0.1, 0.8, 0.1))], 1.6)
    (row,) = wall.tick(2.0, 1006.0)["rows"]
    assert row[2:4] == [1, 80]


def test_a_call_says_what_its_platform_said_and_what_told() -> None:
    wall = Wall()
    platform = {"platform": "twilio", "call": "CA1", "note\n": "x" * 1000}
    wall.take([feed.model(), feed.status(call=platform)], 1.0)
    for second in range(1, 9):
        now = {"uk": 0.9, "us": 0.1} if second < 5 else {"uk": 0.2, "us": 0.8}
        wall.take([feed.answer(at_s=second + 0.1, now=now)], 1.0)
    (intro,) = wall.tick(1.0, 1005.0)["new"]
    assert intro[4]["call"] == "CA1"
    assert all(len(text) <= LONGEST and text.isprintable() for pair in intro[4].items() for text in pair)
    call = wall.call(1)
    assert call is not None
    assert call["platform"] == intro[4]
    assert call["told"]["t"] == [float(n) for n in range(8)]
    assert min(call["told"]["moved"][:4]) > 0 > max(call["told"]["moved"][4:])
    wall.take([feed.answer(at_s=9.0, probs=(), state="silent")], 1.0)
    call = wall.call(1)
    assert call is not None
    assert call["told"] is None


def test_changes_lead_to_the_same_as_everything() -> None:
    wall, copy = Wall(), Copy()
    for turn in range(40):
        for n in range(12):
            name = f"call-{n + turn // 10 * 6}"
            if turn % 10 == 0:
                wall.take([feed.model(name)], turn)
            state = "ended" if turn % 10 == 9 and n < 6 else "live"
            wall.take([feed.answer(name, turn + 1.0, feed.shares(n, turn), state=state)], turn)
        copy.take(wall.tick(turn, 1000.0 + turn))
    whole = Copy()
    whole.take(wall.whole(1040.0))
    assert (copy.rows, copy.intros, copy.labels) == (whole.rows, whole.intros, whole.labels)
    assert len(copy.rows) > 12


def test_an_ended_call_stays_and_its_name_may_come_again() -> None:
    wall = Wall()
    wall.take([feed.model(), feed.answer(at_s=8.0), feed.answer(at_s=9.0, state="ended")], 1.0)
    wall.take([feed.model(time=1100.0), feed.answer(at_s=3.0, time=1103.0)], 2.0)
    rows = {row[0]: row for row in wall.tick(2.0, 1103.0)["rows"]}
    assert (rows[1][1], rows[1][9]) == (ENDED, 9.0)
    assert (rows[2][1], rows[2][9]) == (LIVE, None)
    ended = wall.call(1)
    assert ended is not None
    assert ended["course"]["t"] == [8.0, 9.0]
    assert wall.call(3) is None


def test_a_status_that_follows_the_last_answer_says_the_source() -> None:
    wall = Wall()
    wall.take([feed.model(), feed.answer(at_s=9.0, state="ended")], 1.0)
    wall.take([feed.status(state="ended", source="microphone: USB")], 1.0)
    assert len(wall.lines) == 1
    assert wall.tick(1.0, 1009.0)["new"] == [[1, "mic", "microphone: USB", 1000.0, {}]]


def test_the_state_of_a_source_that_delivers_nothing_comes_first() -> None:
    wall = Wall()
    wall.take([feed.answer(), feed.status(source_state="lost")], 1.0)
    assert wall.tick(1.0, 1005.0)["rows"][0][1] == LOST


def test_a_call_that_is_silent_has_no_answer() -> None:
    wall = Wall()
    wall.take([feed.answer(state="silent")], 1.0)
    row = wall.tick(1.0, 1005.0)["rows"][0]
    assert row[1:4] == [SILENT, None, None]


def test_a_new_run_of_the_daemon_ends_the_calls_of_the_old_one() -> None:
    wall = Wall()
    wall.take([feed.model(), feed.answer()], 1.0)
    wall.take([feed.model(run="r2"), feed.answer(run="r2")], 2.0)
    assert [row[1] for row in wall.tick(2.0, 1005.0)["rows"]] == [ENDED, LIVE]


def test_a_call_that_nothing_is_heard_of_ends() -> None:
    wall = Wall()
    wall.take([feed.model(), feed.answer()], 1.0)
    wall.tick(1.0, 1005.0)
    assert wall.tick(1.0 + walls.QUIET_S, 1020.0)["rows"] == []
    assert wall.tick(3.0 + walls.QUIET_S, 1022.0)["rows"][0][1] == ENDED


def test_a_call_that_was_given_up_goes_on_when_its_feed_does() -> None:
    wall = Wall()
    wall.take([feed.model(), feed.answer()], 1.0)
    for at in (1.0, 3.0 + walls.QUIET_S):
        wall.tick(at, 1000.0 + at)
    wall.take([feed.status(captured_s=30.0)], 20.0)
    assert [row[:2] for row in wall.tick(20.0, 1030.0)["rows"]] == [[1, LIVE]]
    wall.take([feed.answer(at_s=31.0)], 21.0)
    wall.tick(21.0, 1031.0)
    wall.tick(23.0 + walls.QUIET_S, 1050.0)
    wall.take([feed.answer(at_s=60.0, probs=(0, 1, 0), state="ended")], 40.0)
    call = wall.call(1)
    assert call is not None
    assert (call["state"], call["top"], call["length"], len(wall.lines)) == ("ended", "us", 60.0, 1)
    wall.take([feed.model(time=1061.0), feed.answer(at_s=1.0)], 41.0)
    assert len(wall.lines) == 2, "the same name, and another call"


def test_the_ribbon_counts_each_slice_once() -> None:
    wall = Wall()
    wall.take([feed.answer("a"), feed.answer("b"), feed.answer("c", probs=(0, 1, 0))], 1.0)
    wall.tick(1.0, 1000.0)
    assert wall.tick(2.0, 1011.0)["ribbon"] == [[1010, 0, 2, 1, 0]]
    assert "ribbon" not in wall.tick(2.5, 1012.0)
    for n in range(1_000):
        wall.tick(3.0, 1020.0 + 10 * n)
    assert len(wall.whole(0.0)["ribbon"]) == walls.SLICES


def test_everything_is_bounded() -> None:
    wall, copy = Wall(), Copy()
    for n in range(walls.MOST_OVER + 500):
        wall.take([feed.model(f"c{n}"), feed.answer(f"c{n}", state="ended")], 1.0)
        if n % 100 == 0:
            copy.take(wall.tick(1.0, 1005.0))
    copy.take(wall.tick(2.0, 1005.0))
    assert len(wall.lines) == len(copy.rows) == walls.MOST_OVER
    many = [f"l{n}" for n in range(200)]
    wall.take([feed.model("many", many)], 1.0)
    assert len(wall.labels) == walls.MOST_LABELS


def test_text_from_anywhere_is_bounded_and_cannot_turn_the_line() -> None:
    wall = Wall()
    name = "<script>\u202eevil\x1b[31m"
    wall.take([feed.answer(name), feed.status(name, source="x" * 5_000, detail="\u2066")], 1.0)
    intro = wall.tick(1.0, 1005.0)["new"][0]
    assert intro[1] == "<script>\\u202eevil\\x1b[31m"
    assert len(intro[2]) == LONGEST
