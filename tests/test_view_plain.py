"""Lines where there is no terminal: one per stream and second, JSON as on the feed, readers that leave."""

import io
import subprocess
import sys
import threading
from pathlib import Path

from patience import PATIENCE_S
from test_view_synthetic import prediction, status

from streamcab.view import lines
from streamcab.view.plain import line


class Script:
    """A feed that says a list of things, one at each drain, on a clock that goes 0.25 s further each time."""

    def __init__(self, said):
        self.said, self.now, self.stop = list(said), 0.0, threading.Event()

    def drain(self):
        self.now += 0.25
        if len(self.said) <= 1:
            self.stop.set()
        return self.said.pop(0) if self.said else []


def written(said, every=1e-3):
    feed, out = Script(said), io.StringIO()
    board = lines(feed, out, stop=feed.stop, clock=lambda: feed.now, every=every)
    return out.getvalue().splitlines(), board


def test_a_line_per_stream_and_second():
    said = [[prediction("a", t / 4), prediction("bb", t / 4)] for t in range(41)]
    feed, out = Script(said), io.StringIO()
    lines(feed, out, stop=feed.stop, clock=lambda: feed.now)
    assert 10 <= out.getvalue().count("  a ") <= 12
    assert out.getvalue().count("  a ") == out.getvalue().count("  bb ")


def test_a_line_for_people():
    said, board = written([[prediction(lost_ms=340.0, overflows=2)]])
    assert "mic" in said[0]
    assert said[0].split()[1:] == [
        "mic", "live", "us", "87", "%", "voiced", "8.4", "s", "level", "-23", "dB", "lag", "62", "ms",
        "lost", "340", "ms", "overflows", "2",
    ]  # fmt: skip
    assert board.streams["mic"].top == "us"


def test_silence_has_no_label():
    assert "us" not in line(prediction(state="silent"))
    assert "%" not in line(prediction(state="silent"))


def test_an_answer_below_the_threshold_is_said_to_be_unsure():
    assert line(prediction(sure=False)).endswith("not sure")
    assert line(prediction(sure=False, other=0.4)).endswith("not sure")
    assert line(prediction(sure=False, other=0.5)).endswith("perhaps another accent")
    assert "another" not in line(prediction(sure=True, other=0.5))
    assert "not sure" not in line(prediction(sure=True)) + line(prediction())


def test_columns_stand_under_each_other():
    said, _ = written([[prediction("a"), prediction("longer-name", top="australia")]])
    assert said[0].index("voiced") == said[1].index("voiced")


def test_changes_of_the_source_are_said_once():
    lost = status(state="lost", detail="the device was unplugged")
    said, _ = written([[status()], [status()], [lost], [lost], [status()]])
    assert [row.split()[2] for row in said] == ["live", "lost", "live"]
    assert "the device was unplugged" in said[1]


def test_a_source_that_stalls_and_samples_with_flaws_are_a_line_each():
    stalled, loud = status(source_state="stalled", detail="no packet"), status(flaws=["clipping"])
    said, _ = written([[status()], [stalled], [stalled], [loud], [loud]])
    assert len(said) == 3
    assert said[1].endswith("source stalled: no packet")
    assert said[2].endswith("samples: clipping")


def test_the_last_answer_is_written_however_short_the_run():
    said, _ = written([[prediction()], [prediction(state="ended", top="uk")]], every=1000.0)
    assert "ended" in said[-1]
    assert "uk" in said[-1]


def test_control_characters_are_not_printed():
    said, _ = written([[prediction(top="\x1b[2J", labels=["\x1b[2J"])], [status(detail="\x07\x9b")]])
    assert all(row.isprintable() for row in said)


def test_a_reader_that_goes_away_ends_it_quietly():
    code = (
        "import sys; from test_view_synthetic import prediction; from streamcab.view import lines\n"
        "class Feed:\n"
        "    n = 0\n"
        "    def drain(self):\n"
        "        self.n += 1\n"
        "        return [prediction(at_s=self.n)]\n"
        "lines(Feed(), sys.stdout, every=0.01)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parent,
    )
    assert process.stdout is not None
    assert b"mic" in process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=PATIENCE_S) == 0
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
