"""Slots: a stream begins with every column as new, whoever had its place before; nothing of a stream outlives it."""

import gc
import weakref

import numpy as np
import pytest

from streamcab.audio.ring import Bank
from streamcab.inference.slots import SlotTable


def test_slots_run_out_and_come_back():
    table, bank = SlotTable(2), Bank(8000, 3, 8000)
    a, b = table.attach(bank, 0), table.attach(bank, 2)
    assert (table.slots.tolist(), len(table), table.free) == (sorted([a, b]), 2, 0)
    with pytest.raises(ValueError, match="all 2 slots"):
        table.attach(bank, 1)
    table.detach(a)
    assert (table.slots.tolist(), len(table), table.free) == ([b], 1, 1)
    assert table.attach(bank, 1) == a
    assert table.row[[a, b]].tolist() == [1, 2]


def test_a_slot_is_as_new_in_every_column_and_for_everybody_who_keeps_something():
    table, bank, told = SlotTable(3), Bank(8000, 1, 8000), []
    counts, times = table.column(np.int64, 0, 4), table.column(np.float64, np.inf)
    table.add(lambda slots: told.append(slots.tolist()))
    slot = table.attach(bank, 0)
    counts[slot], times[slot], table.heard[slot], table.finished[slot] = 7, 1.0, 9, True
    counts[slot - 1] = 3
    table.detach(slot)
    assert told == [[slot]]
    assert (counts[slot].tolist(), times[slot], table.heard[slot], table.finished[slot]) == (
        [0] * 4,
        np.inf,
        0,
        False,
    )
    assert counts[slot - 1].tolist() == [3] * 4, "its neighbour keeps what it has"


def test_streams_come_bank_by_bank_and_each_once():
    table, banks = SlotTable(5), [Bank(8000, 2, 80), Bank(16000, 2, 80)]
    a, b, c = table.attach(banks[0], 1), table.attach(banks[1], 0), table.attach(banks[0], 0)
    found = [
        (bank, which.tolist(), rows.tolist()) for which, bank, rows in table.by_bank(np.array([c, b, a]))
    ]
    assert found == [(banks[0], [0, 2], [0, 1]), (banks[1], [1], [0])]
    assert table.bank(b) is banks[1]
    assert list(table.by_bank(np.zeros(0, np.intp))) == []


def test_a_bank_that_nobody_reads_is_let_go_and_its_number_is_used_again():
    table = SlotTable(2)
    slow = Bank(8000, 1, 80)
    kept = table.attach(slow, 0)
    for rate in range(9000, 9020):
        bank = Bank(rate, 1, 80)
        gone = weakref.ref(bank)
        slot = table.attach(bank, 0)
        assert table.bank(slot).rate == rate
        table.detach(slot)
        del bank
        gc.collect()
        assert gone() is None
    assert table.bank(kept) is slow
    assert len(table._banks) == 2


def test_memory_is_that_of_all_columns_and_of_what_was_added():
    table = SlotTable(7)
    before = table.bytes_per_slot
    table.column(np.float32, 0.0, 10, 2)
    table.add(lambda slots: None, 1000)
    assert table.bytes_per_slot == before + 80 + 1000
