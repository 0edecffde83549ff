"""Standard output on a disk that fills and empties, and a reader that goes away: real descriptors throughout."""

import fcntl
import io
import logging
import os
from contextlib import contextmanager

import pytest

from streamcab.ops.output import Output

LINE = "x" * 999 + "\n"


@contextmanager
def piped():
    """An output into a pipe of 4 KiB that does not wait, and a function that takes all that is in it."""
    inlet, outlet = os.pipe()
    fcntl.fcntl(outlet, fcntl.F_SETPIPE_SZ, 4096)
    for end in (inlet, outlet):
        os.set_blocking(end, False)

    def read():
        found = b""
        while True:
            try:
                found += os.read(inlet, 1 << 16)
            except BlockingIOError:
                return found.decode()

    with os.fdopen(outlet, "w") as stream:
        yield Output(stream), read
    os.close(inlet)


def test_nothing_is_written_before_a_flush_and_all_of_it_then():
    with piped() as (out, read):
        assert out.write("one\n") == 4
        out.write("two\n")
        assert read() == ""
        out.flush()
        assert read() == "one\ntwo\n"
        out.flush()
        assert read() == ""


def test_a_full_disk_costs_lines_and_is_told_once_and_so_is_its_end(caplog):
    with piped() as (out, read):
        for _ in range(8):
            out.write(LINE)
            out.flush()
        lost = out.dropped
        assert lost > 0
        kept = read()
        out.write("again\n")
        out.flush()
        assert read().endswith("again\n")
        assert [r.message for r in caplog.records] == [
            "the output cannot be written: Resource temporarily unavailable; the feed goes on without it",
            f"the output can be written again; {lost} lines of it are missing",
        ]
        assert out.dropped == lost
        assert kept.count("\n") + lost >= 8


def test_a_line_that_was_cut_ends_where_it_was_cut():
    with piped() as (out, read):
        out.write("a" * 6000 + "\n")
        out.flush()
        cut = read()
        assert cut == "a" * 4096
        out.write("whole\n")
        out.flush()
        assert read() == "\nwhole\n"
        out.write("next\n")
        out.flush()
        assert read() == "next\n"


def test_a_disk_that_took_nothing_has_cut_nothing():
    with piped() as (out, read):
        os.write(out.fileno(), b"f" * 4096)
        out.write("lost\n")
        out.flush()
        assert out.dropped == 1
        assert read() == "f" * 4096
        out.write("kept\n")
        out.flush()
        assert read() == "kept\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_device_without_room_ends_nothing(caplog):
    with open("/dev/full", "w", encoding="utf-8") as full:
        out = Output(full)
        for _ in range(3):
            out.write("a\nb\n")
            out.flush()
    assert out.dropped == 6
    assert [r.levelno for r in caplog.records] == [logging.WARNING]


def test_a_reader_that_went_away_is_another_matter():
    inlet, outlet = os.pipe()
    os.close(inlet)
    with os.fdopen(outlet, "w") as stream:
        out = Output(stream)
        out.write("to nobody\n")
        with pytest.raises(BrokenPipeError):
            out.flush()


def test_a_stream_without_a_descriptor_is_written_to_as_it_is():
    stream = io.StringIO()
    out = Output(stream)
    out.write("kept\n")
    out.flush()
    assert stream.getvalue() == "kept\n"


def test_what_is_no_text_is_written_all_the_same():
    with piped() as (out, read):
        out.write("caf\udce9\n")
        out.flush()
        assert read() == "caf?\n"


def test_who_gives_up_writes_nowhere():
    inlet, outlet = os.pipe()
    with os.fdopen(outlet, "w") as stream:
        out = Output(stream)
        out.give_up()
        stream.write("unheard\n")
        stream.flush()
    with os.fdopen(inlet) as reader:
        assert reader.read() == ""
