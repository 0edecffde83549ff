"""Several statuses as one, and several tellers of calls as one."""

from called import NOON, Line
from feeding import status
from health_feed import daemon, model, prediction

from streamcab.calls import Entry, Tally
from streamcab.message import ModelInfo
from streamcab.workers.entries import Entries
from streamcab.workers.merge import Ended, merged


def test_a_status_of_all_has_sums_and_the_worst_and_every_detail_once():
    ended = Ended()
    ended.add(daemon(lost_ms=100.0, streams=9, counters={"accepted": 5, "skips": 1}))
    both = [
        daemon(
            streams=2,
            pass_ms=3.0,
            intervals_per_s=80.0,
            lost_ms=1.0,
            counters={"accepted": 10},
            detail="late; full",
        ),
        daemon(
            streams=3, pass_ms=9.0, intervals_per_s=120.0, counters={"accepted": 20, "late": 2}, detail="full"
        ),
    ]
    one = merged(both, ended, [("worker-restarts", 1)], ["worker 1 died"], time=7.0, uptime_s=60.0)
    assert (one.streams, one.pass_ms, one.intervals_per_s, one.lost_ms) == (5, 9.0, 200.0, 101.0)
    assert (one.time, one.uptime_s) == (7.0, 60.0)
    assert one.counters == {"accepted": 35, "skips": 1, "late": 2, "worker-restarts": 1}
    assert one.detail == "worker 1 died; late; full"


def test_without_workers_the_sums_stay():
    ended = Ended()
    ended.add(daemon(counters={"accepted": 5}))
    assert merged([], ended, [], [], time=1.0, uptime_s=1.0).counters == {"accepted": 5}


class Told:
    """What the store is told."""

    def __init__(self) -> None:
        self.all: list[Entry | ModelInfo] = []
        self.entries = Entries(self.all.append)

    def states(self) -> dict[int, str]:
        return {e.call.number: e.call.state for e in self.all if isinstance(e, Entry)}


def test_numbers_are_unique_and_models_are_told_once():
    told = Told()
    for worker in (1, 2):
        tally = Tally(told.entries.of(worker))
        for name in "ab":
            line = Line(tally, f"{name}{worker}")
            line.talk(12.0)
            line.hang_up()
    assert told.states() == {1: "ended", 2: "ended", 3: "ended", 4: "ended"}
    numbers = {
        e.call.name: {x.call.number for x in told.all if isinstance(x, Entry) and x.call.name == e.call.name}
        for e in told.all
        if isinstance(e, Entry)
    }
    assert all(len(found) == 1 for found in numbers.values())
    assert sum(isinstance(e, ModelInfo) for e in told.all) == 1


def farewell(name: str, **fields):
    last = prediction(name, state="ended", sample=96_000, heard_s=8.0, time=NOON + 12.0, **fields)
    return [
        model(name, time=NOON),
        last,
        status(name, state="ended", time=NOON + 13.0, captured_s=12.5, detail="it died"),
    ]


def test_calls_of_a_worker_that_dies_end_under_their_numbers_and_with_its_last_words():
    told = Told()
    lines = [Line(Tally(told.entries.of(worker)), f"call{worker}") for worker in (1, 2)]
    for line in lines:
        line.talk(8.0)
    before = told.states()
    told.entries.lost(1, [*farewell("call1"), *farewell("unheard-of", top="us")])
    assert before == {1: "open", 2: "open"}
    assert told.states() == {1: "ended", 2: "open", 3: "ended"}
    first, new = [e for e in told.all if isinstance(e, Entry)][-2:]
    assert (first.call.name, first.call.detail, first.call.audio_s, first.call.speech_s) == (
        "call1",
        "it died",
        12.5,
        8.0,
    )
    assert first.call.began == NOON
    assert (new.call.name, new.call.top, new.call.number) == ("unheard-of", "us", 3)
    # The process in its place begins at 1 again.
    again = Line(Tally(told.entries.of(1)), "call1")
    again.talk(8.0)
    assert told.states()[4] == "open"


def test_a_call_that_ended_unreported_as_its_worker_died_has_ended():
    told = Told()
    line = Line(Tally(told.entries.of(1)), "call1")
    line.talk(8.0)
    told.entries.lost(1, [])
    last = told.all[-1]
    assert isinstance(last, Entry)
    assert (last.call.number, last.call.state, last.call.ended) == (1, "ended", last.call.seen)
    told.entries.lost(1, [])
    assert told.all[-1] is last
