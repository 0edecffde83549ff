"""Admission: who is let in, who waits, and who was never heard."""

import numpy as np
import pytest
from serving import Hand

from streamcab.daemon.admission import BALANCE_S, Admission
from streamcab.daemon.capacity import FEW, SHARE
from streamcab.daemon.streams import FLOW_S, StreamTable
from streamcab.nn.architecture import Architecture

SIZE = 256


class Door:
    """A source of calls, and a table for them on a machine that can hear `room` of them at a time."""

    def __init__(self, room: float, size: int = SIZE, live: bool = True) -> None:
        self.streams = StreamTable(Architecture(("us", "uk")), size)
        self.hand = Hand(rows=2 * SIZE, seconds=1, live=live)
        self.admission = Admission(self.streams, cost=SHARE / room)
        self.lines = []
        self.now = 0.0

    def offer(self, n: int) -> None:
        for _ in range(n):
            self.lines.append(self.hand.begin(f"call-{len(self.lines)}", len(self.lines)))
            self.admission.offer(self.hand, self.lines[-1])

    def open(self, now: float | None = None, late: bool = False) -> list[str]:
        """Who is let in, a second after the last time."""
        self.now = now = self.now + 1.0 if now is None else now
        names = []
        for source, line in self.admission.admitted(late, now, lambda line: line.name):
            self.streams.join(line, source, now)
            names.append(line.name)
        return names


def test_as_many_are_let_in_as_can_be_heard_and_the_others_wait_in_order() -> None:
    door = Door(room=80.5)
    door.offer(85)
    assert door.open() == [f"call-{i}" for i in range(80)]
    assert len(door.admission) == 5
    assert "5 streams wait" in " ".join(door.admission.in_words())
    for live in list(door.streams)[:2]:
        door.streams.leave(live)
    assert door.open() == ["call-80", "call-81"]


def test_few_are_let_in_on_the_slowest_machine() -> None:
    door = Door(room=0.5)
    door.offer(FEW + 1)
    assert len(door.open()) == FEW


def test_nobody_is_let_in_while_visits_are_late() -> None:
    door = Door(room=40.0)
    door.offer(1)
    assert door.open(late=True) == []
    assert door.open() == ["call-0"]


def test_files_that_can_wait_make_nobody_late() -> None:
    door = Door(room=1.0, live=False)
    door.offer(100)
    assert len(door.open(late=True)) == 100


def test_who_ends_while_waiting_was_refused() -> None:
    door = Door(room=FEW)
    door.offer(FEW + 2)
    door.open()
    door.hand.bank.finish(FEW)
    assert door.open() == []
    assert door.admission.refused == {"refused-overload": 1}
    assert door.hand.released == [f"call-{FEW}"]
    assert len(door.admission) == 1


def test_who_finds_every_slot_taken_is_refused_at_once() -> None:
    door = Door(room=40.0, size=4)
    door.offer(5)
    assert len(door.open()) == 4
    assert door.admission.refused == {"refused-full": 1}


@pytest.mark.parametrize(("settled", "admitted"), [(0, 0), (12, 8), (20, 13)])
def test_settled_streams_rest_before_anybody_waits(settled: int, admitted: int) -> None:
    """A third of the settled are heard in the long run: so many more can be let in."""
    door = Door(room=80.0)
    door.offer(80)
    door.open()
    duty = door.admission._duty
    duty._settled[:settled] = True
    door.offer(20)
    assert len(door.open(now=100.0)) == admitted
    assert np.count_nonzero(door.streams.resting) == admitted
    assert not door.streams.resting[settled:].any()


def test_who_falls_silent_while_waiting_is_let_in_when_it_speaks_again() -> None:
    door = Door(room=FEW)
    door.offer(FEW + 1)
    assert len(door.open()) == FEW
    door.hand.bank.write(FEW, np.zeros(10, np.float32), door.now)
    door.streams.leave(next(iter(door.streams)))
    later = door.now + FLOW_S + 1
    assert door.open(later) == []
    door.admission.balance(later, lambda: (0.0, 0.0))
    assert "".join(door.admission.in_words()) == ""
    door.hand.bank.write(FEW, np.zeros(10, np.float32), later)
    assert door.open(later + BALANCE_S / 2) == []  # looked at a few times a second, not in each turn
    assert door.open(later + BALANCE_S) == [f"call-{FEW}"]
