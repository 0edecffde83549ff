"""Who is calling: keys to slots, as a dictionary would have it, and who makes room for whom."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcab.rtp.batch import NAME, pack_address, unpack_address
from streamcab.rtp.table import PATIENCE, State, Table, key_words

HOSTS = ("192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2")


def words(*callers):
    """The keys of callers (host, port, ssrc, socket)."""
    names = b"".join(pack_address(host, port) for host, port, *_ in callers)
    name = np.frombuffer(names, np.uint64).reshape(-1, NAME // 8)
    columns = [np.array([caller[k] for caller in callers]) for k in (2, 3)]
    return key_words(name, columns[0].astype(np.uint32), columns[1].astype(np.int64))


def admit(table, *callers, now=0.0):
    return table.admit(words(*callers), True, np.zeros(len(callers), np.int64), now)


def match(table, *callers):
    return table.match(words(*callers), True).tolist()


def caller(n, host=HOSTS[0]):
    return (host, 4000, n, 0)


callers = st.tuples(st.sampled_from(HOSTS), st.integers(0, 3), st.integers(0, 2**32 - 1), st.integers(0, 3))


@given(st.lists(callers, min_size=1, max_size=40, unique=True), st.data())
def test_keys_lead_to_slots_as_in_a_dictionary(some, data):
    table, known = Table(64), {}
    while some:
        batch, some = some[:7], some[7:]
        assert match(table, *batch) == [-1] * len(batch)
        known |= dict(zip(batch, admit(table, *batch).tolist(), strict=True))
        assert match(table, *known) == list(known.values())
        gone = data.draw(st.sets(st.sampled_from(sorted(known)), max_size=3))
        for one in gone:
            table.leave(np.array([known.pop(one)]), State.FREE)
        assert match(table, *gone) == [-1] * len(gone) if gone else True
    assert len(set(known.values())) == len(known)
    for (host, port, ssrc, sock), slot in known.items():
        assert unpack_address(table.name(slot)) == (host, port)
        assert (int(table.ssrc[slot]), table.port(slot)) == (ssrc, sock)


@pytest.mark.parametrize(
    "other", [(HOSTS[1], 4000, 1, 0), (HOSTS[0], 4001, 1, 0), (HOSTS[0], 4000, 2, 0), (HOSTS[0], 4000, 1, 1)]
)
def test_another_address_port_ssrc_or_socket_is_another_call(other):
    table = Table(4)
    admit(table, caller(1))
    assert match(table, other) == [-1]


def test_of_two_packets_of_one_newcomer_one_slot_is_taken():
    table = Table(4)
    taken = admit(table, caller(1), caller(2), caller(1))
    assert len(taken) == 2
    first, second, third = match(table, caller(1), caller(2), caller(1))
    assert first == third != second


def test_who_comes_first_gets_in_and_who_is_too_many_does_not():
    table = Table(3)
    assert len(admit(table, *(caller(n) for n in range(5)), now=1.0)) == 3
    assert match(table, *(caller(n) for n in range(5)))[3:] == [-1, -1]


def test_a_newcomer_that_went_silent_makes_room_and_a_call_does_not():
    table = Table(2)
    live, silent = admit(table, caller(1), caller(2), now=0.0)
    table.state[live] = State.LIVE
    assert len(admit(table, caller(3), now=PATIENCE / 2)) == 0
    assert admit(table, caller(3), now=2 * PATIENCE).tolist() == [silent]
    assert match(table, caller(1), caller(2), caller(3)) == [live, -1, silent]


def test_who_has_sent_least_makes_room_first_and_of_equals_who_has_been_silent_longest():
    table = Table(3)
    slots = admit(table, caller(1), caller(2), caller(3), now=0.0)
    table.packets[slots], table.last[slots] = (4, 1, 1), (0.0, 0.2, 0.1)
    assert admit(table, caller(4), caller(5), now=1.0).tolist() == [slots[2], slots[1]]


def test_keys_that_fall_together_are_told_apart():
    table = Table(16)
    table._factors = [np.uint64(0)] * 6  # all into one cell
    some = [(host, port, 7, 0, 0) for host in HOSTS for port in (4000, 4002)]
    slots = [int(admit(table, one)[0]) for one in some]
    assert match(table, *some) == slots
    assert match(table, ("2001:db8::3", 4000, 7, 0, 0), ("192.0.2.1", 4001, 7, 0, 0)) == [-1, -1]


def test_an_ended_call_keeps_its_slot_and_lends_its_key():
    table = Table(2)
    (slot,) = admit(table, caller(1))
    table.leave(np.array([slot]), State.ENDED)
    assert match(table, caller(1)) == [-1]
    (again,) = admit(table, caller(1))
    assert again != slot
    table.release(int(slot))
    assert table.state[slot] == State.FREE
    assert match(table, caller(1)) == [again]


def test_without_ipv6_the_short_way_finds_the_same():
    table, some = Table(32), [caller(n) for n in range(20)]
    short = words(*some)
    taken = table.admit(short, False, np.zeros(20, np.int64), 0.0)
    assert table.match(short, False).tolist() == taken.tolist()
