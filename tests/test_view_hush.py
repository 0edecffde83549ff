"""Standard error while the view has the screen: kept, bounded, and handed on afterwards."""

import os
import sys

from streamcab.view.hush import KEPT, hushed


def test_what_is_written_comes_afterwards(capfd):
    with hushed():
        os.write(2, b"from a driver\n")
        print("from Python", file=sys.stderr)
        assert capfd.readouterr().err == ""
    assert capfd.readouterr().err == "from a driver\nfrom Python\n"


def test_only_the_newest_lines_are_kept(capfd):
    with hushed():
        for i in range(10_000):
            os.write(2, b"%d\n" % i)
    assert capfd.readouterr().err.split() == [str(i) for i in range(10_000 - KEPT, 10_000)]


def test_an_error_passes_and_leaves_standard_error_as_it_was(capfd):
    try:
        with hushed():
            raise KeyError("x")
    except KeyError:
        os.write(2, b"again\n")
    assert capfd.readouterr().err == "again\n"
