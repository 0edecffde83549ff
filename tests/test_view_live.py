"""The loop without a real terminal: what it writes, when it ends, and what it leaves as it found it."""

import io
import signal
import threading

import pytest
from patience import PATIENCE_S
from rich.console import Console
from test_view_synthetic import Breaking, prediction

from streamcab.view import drawable, watch

SHOW, HIDE, ALTERNATE, USUAL = "\x1b[?25h", "\x1b[?25l", "\x1b[?1049h", "\x1b[?1049l"


class Ending:
    """A feed that says the same stream again and again, and sets `stop` after some drains."""

    def __init__(self, drains=4, **changes):
        self.drains, self.stop, self.changes = drains, threading.Event(), changes

    def drain(self):
        self.drains -= 1
        if self.drains <= 0:
            self.stop.set()
        return [prediction(at_s=10.0, **self.changes)]


def terminal(**environ):
    environ = {"TERM": "xterm-256color"} | environ
    return Console(file=io.StringIO(), force_terminal=True, width=80, height=24, _environ=environ)


def test_stop_ends_it_and_the_terminal_is_clean():
    feed, console = Ending(), terminal()
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGTSTP)]
    board = watch(feed, console, stop=feed.stop, caption=lambda: "clip 2 of 5")
    out = console.file.getvalue()
    assert out.index(ALTERNATE) < out.index(HIDE) < out.index("clip 2 of 5")
    assert out.rindex(SHOW) > out.rindex(HIDE)
    assert out.endswith(USUAL)
    assert board.streams["mic"].top == "us"
    assert before == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGTSTP)]


def test_rows_that_do_not_change_are_not_written_again():
    feed, console = Ending(drains=6), terminal()
    watch(feed, console, stop=feed.stop)
    assert console.file.getvalue().count("voiced") == 1


def test_a_broken_feed_leaves_a_clean_terminal():
    console = terminal()
    with pytest.raises(RuntimeError, match="the feed broke"):
        watch(Breaking(), console)
    assert console.file.getvalue().endswith(USUAL)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_no_color_is_respected():
    feed, console = Ending(), terminal(NO_COLOR="1", COLORTERM="truecolor")
    watch(feed, console, stop=feed.stop)
    assert "\x1b[38;" not in console.file.getvalue()
    feed, console = Ending(), terminal(COLORTERM="truecolor")
    watch(feed, console, stop=feed.stop)
    assert "\x1b[38;" in console.file.getvalue()


def test_where_nothing_can_be_drawn_it_writes_lines():
    feed = Ending()
    console = Console(file=io.StringIO(), _environ={})
    assert not drawable(console)
    assert not drawable(terminal(TERM="dumb"))
    assert not drawable(terminal(TERM=""))
    watch(feed, console, stop=feed.stop)
    assert "\x1b" not in console.file.getvalue()
    assert "us" in console.file.getvalue()


def test_it_runs_in_another_thread_too():
    feed, console, boards = Ending(), terminal(), []
    thread = threading.Thread(target=lambda: boards.append(watch(feed, console, stop=feed.stop)))
    thread.start()
    thread.join(PATIENCE_S)
    assert boards[0].streams["mic"].top == "us"
