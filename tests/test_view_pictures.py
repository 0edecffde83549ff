"""The pictures as text: what they say, and that they are never wider or higher than they may be."""

import io
import itertools
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from test_view_synthetic import LABELS, Talk, board_of, daemon, model, prediction, status

from streamcab.view import ViewState, render_fleet, render_one, summary
from streamcab.view.big_text import large
from streamcab.view.board import Board
from streamcab.view.frame import clean, duration, fit, fit_name, percent
from streamcab.view.keyboard import render_keys
from streamcab.view.palette import GREY, HUES, WARN


def text(picture, width, height=24, color_system=None):
    console = Console(
        width=width, height=height, force_terminal=True, color_system=color_system, _environ={}, record=True,
        file=io.StringIO(),
    )  # fmt: skip
    console.print(picture, end="")
    return console.export_text()


def one(board, width=80, height=24, now=40.0, **how):
    return text(render_one(board, "mic", (width, height), now, **how), width, height)


def board_with(*messages, now=40.0):
    board = Board()
    board.add(messages, now)
    return board


@pytest.fixture(scope="module")
def mic():
    return board_of(1)


def test_one_stream_says_everything(mic):
    said = one(mic, 120, 35, hint="? keys  q quit")
    for word in (
        "mic", "microphone: USB Audio", "● live", "us", "uk", "australia", "last 30 s", "attention", "level",
        "dB", "24.0 s of 30 s", "lag", "lost", "overflows", "saa8k · 3fa9c1d2 · window 30 s",
        "? keys  q quit",
    ):  # fmt: skip
        assert word in said, word


def test_one_stream_survives_40_by_10(mic):
    said = one(mic, 40, 10)
    assert len(said.splitlines()) == 10
    for word in (
        "mic",
        "● live",
        "us",
        "uk",
        "australia",
        "last 30 s",
        "attention",
        "level",
        "voiced 24.0 s",
        "lag",
    ):
        assert word in said, word


def test_bars_are_in_eighths_of_a_cell_and_in_proportion():
    probs = {"us": 0.5, "uk": 0.3, "australia": 0.2}
    board = board_with(prediction(probs=probs, now={}, confidence=0.5))
    lines = [
        line for line in one(board).splitlines() if line.lstrip().startswith(("us ", "uk ", "australia "))
    ]
    lengths = [sum(" ▏▎▍▌▋▊▉█".index(c) / 8 for c in line if c in "▏▎▍▌▋▊▉█") for line in lines[-3:]]
    whole = sum(lengths)
    assert [round(length / whole, 2) for length in lengths] == [0.5, 0.3, 0.2]
    assert ["50 %" in lines[-3], "30 %" in lines[-2], "20 %" in lines[-1]] == [True] * 3


def test_the_answer_is_large_where_there_is_room(mic):
    assert "█  █" in one(mic, 80, 24)
    assert "█  █ " not in one(mic, 40, 10)
    assert large("us", 3) == ["█  █ ▄▀▀▀", "█  █  ▀▀▄", " ▀▀  ▀▀▀ "]
    assert large("Québec", 3) == large("Quebec", 3)
    assert large("北京", 3) is None
    assert len(large("87%", 5)) == 5


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("warming", ["◌ warming", "8.4 s"]),
        ("silent", ["○ silent", "silence", "nobody is speaking"]),
        ("lost", ["× lost", "source lost"]),  # noqa: RUF001
        ("ended", ["■ ended", "this was the final answer"]),
    ],
)
def test_states_have_words(state, words):
    said = one(board_with(prediction(state=state), model()), 90, 12)
    assert all(word in said for word in words), said


def test_silence_shows_no_label_and_no_percentage():
    said = one(board_with(prediction(state="silent")), 90, 24)
    assert "%" not in said
    assert "▏" not in said
    assert not any(line.strip().startswith("█") for line in said.splitlines())


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (
            {"source_state": "stalled", "detail": "nothing has come for 1.0 s"},
            ["… stalled", "nothing has come"],
        ),
        ({"state": "lost", "source_state": "lost"}, ["× lost"]),  # noqa: RUF001
        (
            {"state": "lost", "source_state": "reconnecting", "detail": "not there"},
            ["↻ reconnecting", "not there"],
        ),
        ({"source_state": "silent", "detail": "every sample is 0: is it muted?"}, ["● live", "is it muted?"]),
        ({"flaws": ["clipping", "offset"]}, ["● live", "samples: clipping, offset"]),
    ],
)
def test_how_the_source_is_doing_is_said(told, words):
    board = board_with(prediction(), status(**told))
    said = one(board, 120, 30)
    for word in words:
        assert word in said, word
    fleet = text(render_fleet(board, (140, 12), 40.0), 140, 12)
    assert ("stalled" in fleet) == (told.get("source_state") == "stalled")


def test_why_a_source_is_lost_is_said():
    board = board_with(prediction(), status(state="lost", detail="the device was unplugged"))
    assert "the device was unplugged" in one(board)


def test_losses_are_counted(mic):
    board = board_with(prediction(lost_ms=1234.0, overflows=3))
    assert "lost 1.2 s" in one(board, 80, 12)
    assert "lost 1.2 s, 3 overflows" in one(board, 40, 10)


def test_the_strip_names_its_runs_so_that_no_colour_is_needed():
    talk = [
        prediction(
            at_s=t / 10, top="uk" if t < 250 else "australia", now={} if 150 < t < 200 else {"us": 0.9}
        )
        for t in range(100, 400)
    ]
    rows = one(board_with(*talk), 100, 24).splitlines()
    names = next(row for row in rows if row.split() == ["uk", "australia"])
    assert names.index("australia") - names.index("uk") > 35


def test_a_quiet_feed_is_said_and_dimmed(mic):
    said = one(mic, 80, 24, now=52.0)
    assert "feed quiet for 12 s" in said
    frame = render_one(mic, "mic", (80, 24), 52.0)
    assert {s.style.color.name for row in frame.rows[1:] for s in row} == {GREY}
    assert "feed quiet" not in one(mic, 80, 24, now=42.0)
    fleet = board_of(3, seconds=5)
    assert "feed quiet for 7 s" in text(render_fleet(fleet, (80, 24), 12.0), 80)


def test_nothing_to_show_says_why():
    board = Board()
    assert "waiting for the feed" in one(board, now=0.0)
    board.add([daemon()], 1.0)
    assert "no streams yet" in one(board, now=1.0)
    assert "feed quiet for 9 s" in one(board, now=10.0)


def test_any_number_of_labels():
    for count in (2, 5, 13, 20):
        labels = [f"label{i}" for i in range(count)]
        board, talk = Board(), Talk("mic", 1, labels)
        board.add([talk.at(t / 5) for t in range(1, 100)], 20.0)
        said = one(board, 80, 40, now=20.0)
        assert all(label in said for label in labels), count
        assert board.streams["mic"].top in one(board, 40, 10, now=20.0)


def test_many_classifiers_fit(mic):
    board = board_with(prediction(attention=[1 / 500] * 499 + [0.5]))
    row = next(line for line in one(board, 60, 20).splitlines() if "attention" in line)
    assert row.rstrip()[-1] == "█"
    assert "attention" not in one(board_with(prediction(attention=None)))


def test_fleet_counts_and_rows():
    board = board_of(60, seconds=20)
    said = text(render_fleet(board, (120, 35), 20.0), 120, 35)
    counts = {label: sum(s.top == label for s in board.streams.values()) for label in LABELS}
    for label, count in counts.items():
        assert f"■ {label} {count}" in said
    assert "60 streams" in said
    shown = said.count("● live")
    assert f"1-{shown + said.count('○ silent')} of 60" in said
    assert "not shown" in said
    for title in ("name", "accent", "sure", "last 30 s", "voiced", "level", "lag", "lost", "state"):
        assert title in said


def test_fleet_follows_the_selected_stream_and_the_filter():
    board = board_of(60, seconds=3)
    last = min(board.streams.values(), key=lambda s: s.number).name
    said = text(render_fleet(board, (100, 20), 3.0, ViewState(selected=last)), 100, 20)
    assert f"▸ {last}" in said
    said = text(render_fleet(board, (100, 20), 3.0, ViewState(filter="10.0.0.7-")), 100, 20)
    assert "10.0.0.7-" in said
    assert "all 1 shown" in said
    said = text(render_fleet(board, (100, 20), 3.0, ViewState(filter="zebra", typing=True)), 100, 20)
    assert "/ zebra" in said
    assert "0 match" in said


def test_calls_that_ended_stay_fainter_below_the_others_and_are_counted():
    board = board_of(4, seconds=5)
    over = list(board.streams)[:2]
    board.add([prediction(name, 5.0, top="uk", state="ended") for name in over], 5.0)
    picture = render_fleet(board, (120, 24), 5.0)
    said = text(picture, 120, 24)
    assert "2 streams" in said
    assert "2 ended" in said
    rows = {name: y for y, line in enumerate(said.splitlines()) for name in board.streams if name in line}
    assert max(rows, key=lambda name: rows[name]) in over
    for name, y in rows.items():
        assert all(s.style.dim for s in picture.rows[y] if s.text.strip()) == (name in over)
        assert ("uk" in said.splitlines()[y]) or name not in over
    board.add([prediction("other")], 100.0)
    assert not set(over) & set(board.streams)
    assert "2 ended" in text(render_fleet(board, (120, 24), 100.0), 120, 24)


def test_fleet_takes_an_aged_order():
    board = board_of(3, seconds=3)
    names = ["gone", *sorted(board.streams)]
    said = text(render_fleet(board, (100, 20), 3.0, names=names), 100, 20)
    assert "gone" not in said
    assert "all 3 shown" in said


def test_fleet_at_40_columns():
    said = text(render_fleet(board_of(20, seconds=5), (40, 12), 5.0, hint="? keys  q quit"), 40, 12)
    assert len(said.splitlines()) == 12
    assert "■ us" in said
    assert "? keys" in said


def test_names_are_cut_in_the_middle():
    assert fit_name("rtp-10.0.0.1-5004-68a1", 14) == "rtp-10.…4-68a1"
    assert cell_len(fit_name("x" * 200, 20)) == 20


def test_summary_of_all_streams_that_were():
    board = Board()
    board.add(
        [prediction("a.wav", state="ended", lost_ms=40.0, overflows=1), prediction("b.wav", top=None)], 0.0
    )
    board.add([prediction("c.wav", top="uk", confidence=0.51, voiced_s=12.25)], 60.0)
    said = text(summary(board), 100)
    rows = [line.split() for line in said.splitlines()]
    assert rows[1][:2] == ["a.wav", "us"]
    assert rows[1][-6:] == ["8.4", "s", "40", "ms", "1", "overflows"]
    assert rows[2][:3] == ["b.wav", "no", "answer"]
    assert rows[3][:2] == ["c.wav", "uk"]
    assert "51 %" in said
    assert "no stream was heard" in text(summary(Board()), 40)


def test_a_summary_marks_what_is_right_where_that_is_known_and_counts():
    board = Board()
    answers = {"a-1": ("us", True), "b-1": ("uk", False), "c-1": ("uk", True), "d-1": (None, None)}
    board.add([prediction(name, top=top, sure=sure) for name, (top, sure) in answers.items()], 0.0)
    spoken = {"a-1": "us", "b-1": "us", "c-1": "uk", "d-1": "us", "never": "us", "x": "of another model"}
    said = text(summary(board, spoken), 100)
    marks = {
        line.split()[0]: set(line.split()) & {"right", "wrong"} for line in said.splitlines() if line.split()
    }
    assert [marks[name] for name in answers] == [{"right"}, {"wrong"}, {"right"}, set()]
    assert "2 of 3 right, 2 without an answer; sure of 2, 2 of them right" in said
    assert "right" not in text(summary(board), 100)
    assert "right" not in text(summary(board, {"a-1": "of another model"}), 100)
    assert {cell_len(line) for line in text(summary(board, spoken), 60).splitlines()} == {60}


def test_hostile_text_never_reaches_the_terminal():
    evil = "a\x1b[2J\x07\n\u202eb"
    board = board_with(
        prediction(labels=[evil, "uk"], probs={evil: 0.9, "uk": 0.1}, now={evil: 0.9}, top=evil, model=evil),
        status(source=evil, detail=evil),
        prediction(stream=evil, labels=[evil], top=evil),
        model(name=evil, model=evil),
        daemon(detail=evil),
    )
    for width, height in itertools.product((40, 120), (10, 40)):
        for frame in (
            render_one(board, "mic", (width, height), 40.0, caption=evil),
            render_fleet(board, (width, height), 40.0, ViewState(filter=evil), caption=evil),
            summary(board).frame(width),
        ):
            assert all(s.text.isprintable() for row in frame.rows for s in row)


def test_a_console_without_block_characters_gets_ascii(mic):
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    console = Console(width=80, height=24, force_terminal=True, color_system=None, _environ={}, file=out)
    console.print(render_one(mic, "mic", (80, 24), 40.0), end="")
    console.print(render_fleet(mic, (80, 24), 40.0), end="")
    out.flush()
    assert b"####" in out.buffer.getvalue()


def test_numbers_are_short():
    assert [duration(ms) for ms in (0, 62.4, 999.6, 59_949, 90_000, 7.2e6, 1e12)] == [
        "0 ms", "62 ms", "1.0 s", "59.9 s", "2 min", "2 h", "> 41 d",
    ]  # fmt: skip
    assert percent(0.874) == "87 %"
    assert fit("abcdef", 4) == "abc…"
    assert clean("a\tb") == "a·b"


def _luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("colour", [*HUES, GREY, WARN])
def test_colours_stand_out_from_black_and_from_white(colour):
    luminance = _luminance(colour)
    assert 1.05 / (luminance + 0.05) >= 3.0
    assert (luminance + 0.05) / 0.05 >= 3.0


# ----- never wider or higher than the console

LABEL = st.text(min_size=1, max_size=24)
PROBABILITY = st.floats(0, 1)
STATE = st.sampled_from(["warming", "live", "silent", "lost", "ended"])


@st.composite
def predictions(draw, stream):
    labels = draw(st.lists(LABEL, min_size=2, max_size=20, unique=True))
    probs = {label: draw(PROBABILITY) for label in labels} if draw(st.booleans()) else {}
    top = max(probs, key=probs.get) if probs else None
    return prediction(
        stream,
        draw(st.floats(0, 1e6)),
        labels=labels,
        probs=probs,
        now={label: draw(PROBABILITY) for label in labels[: draw(st.integers(0, 20))]},
        top=top,
        confidence=probs.get(top),
        state=draw(STATE),
        level_db=draw(st.none() | st.floats(-200, 10)),
        lag_ms=draw(st.floats(0, 1e13)),
        lost_ms=draw(st.floats(0, 1e13)),
        overflows=draw(st.integers(0, 10**9)),
        voiced_s=draw(st.floats(0, 1e5)),
        attention=draw(st.none() | st.lists(PROBABILITY, max_size=60)),
    )


@st.composite
def boards(draw):
    board = Board()
    for name in draw(st.lists(LABEL, min_size=1, max_size=5, unique=True)):
        board.add([draw(predictions(name))], 1.0)
        if draw(st.booleans()):
            board.add([status(name, source=draw(LABEL), detail=draw(LABEL), state=draw(STATE))], 1.0)
    if draw(st.booleans()):
        board.add([model(name=draw(LABEL)), daemon(detail=draw(LABEL))], 1.0)
    return board


@settings(max_examples=60, deadline=None)
@given(boards(), st.integers(30, 200), st.integers(1, 60), st.floats(1, 100), LABEL, st.data())
def test_no_picture_is_wider_or_higher_than_its_console(board, width, height, now, caption, data):
    name = data.draw(st.sampled_from(sorted(board.streams)))
    view_state = ViewState(
        selected=name, filter=data.draw(st.just("") | LABEL), typing=data.draw(st.booleans())
    )
    size = (width, height)
    for frame in (
        render_one(board, name, size, now, caption=caption, hint="? keys  q quit"),
        render_fleet(board, size, now, view_state, caption=caption, hint="? keys  q quit"),
        render_keys(size),
    ):
        lines = text(frame, width, height).split("\n")
        assert [len(lines) - 1, lines[-1]] == [height, ""]
        assert {cell_len(line) for line in lines[:-1]} == {width}
    assert {cell_len(line) for line in text(summary(board), width).split("\n")[:-1]} == {width}


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 5), (12, 2), (29, 60), (500, 120)])
def test_absurd_sizes_are_survived(mic, size):
    for frame in (render_one(mic, "mic", size, 40.0), render_fleet(mic, size, 40.0), render_keys(size)):
        assert len(frame.rows) == size[1]
        assert {sum(cell_len(s.text) for s in row) for row in frame.rows} == {size[0]}


def test_the_view_needs_no_heavy_library():
    code = "import sys, streamcab.view; print([m for m in ('torch', 'numpy', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
