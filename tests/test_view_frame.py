"""Pieces of a picture: exactly as wide as was asked for whatever the text, and harmless to a terminal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.style import Style

from streamcab.view.frame import (
    ASCII,
    EIGHTHS,
    HEIGHTS,
    Frame,
    Row,
    bar,
    clean,
    column,
    duration,
    fit,
    fit_name,
    percent,
    runs,
    thin_bar,
)

TEXT = st.text(max_size=30)
WIDTH = st.integers(1, 40)
SHARE = st.floats(-1, 2)
STYLE = Style(color="#2F83D3")


def drawn(pieces):
    return "".join(text for text, _ in pieces)


@given(TEXT)
def test_what_could_steer_a_terminal_never_reaches_it(text):
    assert clean(text).isprintable()
    assert len(clean(text)) == len(text)
    assert clean("call 7 \u00e9") == "call 7 \u00e9"
    assert clean("\x1b[2J\u202e") == "\u00b7[2J\u00b7"


@given(TEXT, st.text(st.characters(codec="ascii"), max_size=30), WIDTH)
def test_text_fits_and_is_whole_where_it_can_be(any_text, name, width):
    for how, text in ((fit, any_text), (fit_name, name)):
        assert cell_len(how(text, width)) <= width
        if cell_len(clean(text)) <= width:
            assert how(text, width) == clean(text)
        elif width > 1:
            assert "…" in how(text, width)


def test_a_name_is_cut_in_its_middle_and_other_text_at_its_end():
    name = "rtp-192.0.2.1-4000-cafe0001"
    assert fit_name(name, 15) == "rtp-192…afe0001"
    assert fit(name, 15) == "rtp-192.0.2.1-…"


STEPS = st.tuples(st.sampled_from(["put", "left", "right", "to"]), TEXT, st.integers(0, 50))


@given(WIDTH, st.lists(STEPS, max_size=6))
def test_a_row_is_exactly_as_wide_as_it_was_made(width, steps):
    row = Row(width)
    for how, text, n in steps:
        if how == "put":
            row.put(clean(text))
        elif how == "to":
            row.to(n)
        else:
            getattr(row, how)(text, n)
        assert row.used <= width
    assert sum(cell_len(s.text) for s in row.done()) == width


@given(SHARE, st.integers(0, 40), st.none() | st.floats(0, 1))
def test_a_bar_is_exactly_as_wide_as_was_asked_for_with_a_mark_or_without(share, width, mark):
    assert cell_len(drawn(bar(share, width, STYLE, mark))) == width
    assert cell_len(drawn(thin_bar(share, width, STYLE))) == width


@given(st.integers(0, 80))
def test_a_bar_is_as_long_as_its_share_in_eighths_of_a_cell(eighths):
    text = drawn(bar(eighths / 80, 10, STYLE))
    full, rest = text.count("█"), next((EIGHTHS.index(c) for c in text if c in EIGHTHS[1:]), 0)
    assert 8 * full + rest == eighths


@pytest.mark.parametrize(
    ("share", "mark", "text"),
    [
        (1.0, 0.0, "│████"),
        (1.0, 0.4, "██│██"),
        (0.6, 0.99, "███─│"),
        (0.6, 1.0, "███─│"),
        (0.5, 0.5, "██▌──"),
    ],
)
def test_a_mark_stands_where_its_share_is_and_not_over_the_end_of_the_bar(share, mark, text):
    assert drawn(bar(share, 5, STYLE, mark)) == text


@given(SHARE, st.integers(1, 8))
def test_a_column_is_never_empty_and_its_rows_add_up(share, rows):
    cells = [column(share, row, rows) for row in range(rows)]
    eighths = sum(HEIGHTS.index(cell) for cell in cells)
    assert eighths == max(1, round(min(max(share, 0), 1) * rows * 8))
    # Filled from the bottom.
    assert cells == sorted(cells, key=HEIGHTS.index)


@given(st.floats(0, 1e10))
def test_a_duration_has_at_most_six_characters(ms):
    assert len(duration(ms)) <= 6


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "0 ms"),
        (999.4, "999 ms"),
        (999.6, "1.0 s"),
        (59_949, "59.9 s"),
        (59_951, "1 min"),
        (3_570_000, "1 h"),
    ],
)
def test_a_duration_changes_its_unit_where_the_smaller_would_be_too_long(ms, text):
    assert duration(ms) == text


def test_only_what_rounds_to_it_is_a_hundred_percent():
    assert [percent(p) for p in (0.0, 0.994, 0.996, 1.0)] == ["0 %", "99 %", "100 %", "100 %"]


def test_neighbours_of_one_style_are_one_piece():
    a, b = Style(), Style(bold=True)
    assert runs([("x", a), ("y", a), ("z", b), ("!", a)]) == [("xy", a), ("z", b), ("!", a)]


def test_a_frame_dimmed_is_the_same_text_and_keeps_the_rows_that_it_should():
    frame = Frame(5, [Row(5).put("one", STYLE).done(), Row(5).put("two", STYLE).done()])
    grey = frame.dimmed(keep=1)
    assert [[s.text for s in row] for row in grey.rows] == [[s.text for s in row] for row in frame.rows]
    assert grey.rows[0] == frame.rows[0]
    assert grey.rows[1] != frame.rows[1]


def test_every_sign_of_a_picture_has_a_like_of_one_cell():
    assert {*EIGHTHS, *HEIGHTS} - {" "} <= {chr(code) for code in ASCII}
    assert all(len(to) == 1 and to.isascii() for to in ASCII.values())
