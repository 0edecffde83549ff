"""Calls as rows: what a tally makes of the feed's messages, and when it tells."""

import msgspec
from called import NOON, Line, one_call
from health_feed import model, prediction

from streamcab.calls import TELL_S, Entry, Piece, Tally
from streamcab.message import ModelInfo

Told = list[Entry | ModelInfo]


def entries(told: Told) -> list[Entry]:
    return [one for one in told if isinstance(one, Entry)]


def pieces(told: Told) -> dict[int, Piece]:
    """The newest of each."""
    return {piece.n: piece for entry in entries(told) for piece in entry.pieces}


def test_a_call_ends_as_one_row_and_its_pieces_add_up_to_it() -> None:
    told: Told = []
    one_call(Tally(told.append), "alice", NOON + 3, 25)
    assert isinstance(told[0], ModelInfo)
    last = entries(told)[-1].call
    assert (last.name, last.state, last.began, last.ended) == ("alice", "ended", NOON + 3, NOON + 28)
    assert (last.speech_s, last.audio_s, last.top) == (12.5, 25.0, "uk")
    assert last.probs == {"uk": 0.75, "us": 0.25}
    found = pieces(told)
    assert sorted(found) == [NOON / 10, NOON / 10 + 1, NOON / 10 + 2]
    assert sum(piece.audio_s for piece in found.values()) == 25
    assert sum(piece.speech_s for piece in found.values()) == 12.5
    assert found[int(NOON / 10)].audio_s < 8, "its first piece begins in the middle"
    assert found[int(NOON / 10)].probs == [0.25, 0.75], "in the order of the labels"


def test_an_open_call_is_told_every_five_seconds_so_that_a_kill_costs_no_more() -> None:
    told: Told = []
    line = Line(Tally(told.append), "alice")
    line.talk(60)
    seen = [entry.call.seen for entry in entries(told)]
    assert seen
    assert all(b - a <= TELL_S for a, b in zip([NOON, *seen], [*seen, NOON + 60], strict=True))
    assert {entry.call.state for entry in entries(told)} == {"open"}
    assert all(len(entry.pieces) <= 2 for entry in entries(told))


def test_a_piece_has_the_voice_that_was_heard_at_its_end() -> None:
    told: Told = []
    line = Line(Tally(told.append), "alice")
    for seconds, voice in ((12, 1), (11, 2), (12, 1)):
        line.talk(seconds, voice=voice)
    line.hang_up()
    assert [piece.voice for _, piece in sorted(pieces(told).items())] == [1, 2, 1, 1]


def test_calls_that_begin_together_are_not_told_together() -> None:
    told: Told = []
    tally = Tally(told.append)
    lines = [Line(tally, f"call-{n}") for n in range(50)]
    most = 0
    for _ in range(30):
        before = len(told)
        for line in lines:
            line.talk(0.5)
        most = max(most, len(told) - before)
    assert most <= 10


def test_a_name_that_is_used_again_is_another_call() -> None:
    told: Told = []
    tally = Tally(told.append)
    one_call(tally, "alice", NOON)
    one_call(tally, "alice", NOON + 100)
    last = [entry.call for entry in entries(told) if entry.call.state == "ended"]
    assert [(call.number, call.began) for call in last] == [(1, NOON), (2, NOON + 100)]
    assert len([one for one in told if isinstance(one, ModelInfo)]) == 1


def test_flaws_of_a_piece_are_its_own_and_those_of_a_call_are_all() -> None:
    told: Told = []
    line = Line(Tally(told.append), "alice")
    line.talk(10, flaws=["noisy"])
    line.talk(10, flaws=["clipping"])
    line.talk(10, flaws=[])
    line.hang_up()
    assert entries(told)[-1].call.flaws == ["noisy", "clipping"]
    found = pieces(told)
    assert found[int(NOON / 10)].flaws == ["noisy"]
    assert found[int(NOON / 10) + 2].flaws == []


def test_a_file_that_is_read_at_once_has_the_time_of_its_sound() -> None:
    told: Told = []
    tally = Tally(told.append)
    tally(model("file", time=NOON))
    for s in range(1, 60):
        tally(prediction("file", time=NOON + 1 + s / 1000, sample=8000 * s, heard_s=float(s)))
    assert entries(told)[-1].call.seen >= NOON + 55
    found = pieces(told)
    assert len(found) == 6
    assert max(piece.audio_s for piece in found.values()) <= 10


def test_a_clock_that_is_set_back_repeats_no_piece() -> None:
    told: Told = []
    line = Line(Tally(told.append), "alice")
    line.talk(20)
    line.began -= 3600
    line.talk(20)
    seen = [entry.call.seen for entry in entries(told)]
    assert seen == sorted(seen)
    assert min(pieces(told)) == NOON / 10


def test_a_call_of_which_nothing_is_heard_is_still_known_to_go_on() -> None:
    told: Told = []
    line = Line(Tally(told.append), "alice")
    for s in range(30):
        line.s = float(s)
        line._say(line._status())
    assert [entry.call.seen for entry in entries(told)][-1] >= NOON + 20
    line.hang_up(detail="the sender hung up")
    last = entries(told)[-1].call
    assert (last.state, last.detail, last.speech_s) == ("ended", "the sender hung up", 14.5)


def test_messages_of_a_stream_that_nobody_announced_are_left_alone() -> None:
    told: Told = []
    Tally(told.append)(prediction("late"))
    assert told == []


def test_an_entry_is_json() -> None:
    told: Told = []
    one_call(Tally(told.append), "alice")
    assert msgspec.json.decode(msgspec.json.encode(entries(told)[-1]))["call"]["name"] == "alice"
