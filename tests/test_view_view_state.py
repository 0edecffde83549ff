"""Sorting, filtering and keys: what the user picks."""

import pytest
from test_view_synthetic import prediction

from streamcab.view.board import Board
from streamcab.view.keyboard import decode
from streamcab.view.view_state import SORTS, ViewState, sort


@pytest.fixture
def board():
    board = Board()
    board.add(
        [
            prediction("call-10", 30.0, confidence=0.9, lag_ms=10.0, lost_ms=5.0, time=1000.0),
            prediction("call-9", 10.0, confidence=0.5, lag_ms=90.0, time=1000.0),
            prediction("Desk", 20.0, confidence=0.7, lag_ms=50.0, lost_ms=900.0, time=1000.0),
            prediction("mute", 5.0, state="silent", top=None, confidence=None, probs={}, now={}, time=900.0),
        ],
        0.0,
    )
    return board


@pytest.mark.parametrize(
    ("sorting", "names"),
    [
        ("newest", ["call-9", "Desk", "call-10", "mute"]),
        ("least certain", ["call-9", "Desk", "call-10", "mute"]),
        ("loss", ["Desk", "call-10", "call-9", "mute"]),
        ("lag", ["call-9", "mute", "Desk", "call-10"]),
        ("name", ["call-9", "call-10", "Desk", "mute"]),
    ],
)
def test_sorting(board, sorting, names):
    assert sort(board, ViewState(sorting=sorting)) == names


@pytest.mark.parametrize("sorting", list(SORTS))
def test_what_has_ended_comes_last(board, sorting):
    board.add([prediction("call-9", 11.0, state="ended", confidence=0.1, lag_ms=9e9, lost_ms=9e9)], 1.0)
    assert sort(board, ViewState(sorting=sorting))[-1] == "call-9"


def test_filter_is_a_part_of_a_name_in_any_case(board):
    assert sort(board, ViewState(filter="CALL", sorting="name")) == ["call-9", "call-10"]
    assert sort(board, ViewState(filter="nobody")) == []


def press(view_state, keys, names, page="fleet"):
    return [view_state.key(key, names, page) for key in keys]


def test_q_quits_except_while_typing():
    view_state = ViewState()
    assert press(view_state, ["q"], []) == [False]
    press(view_state, ["/", "q"], [])
    assert view_state.filter == "q"
    press(view_state, ["x", "backspace", "enter"], [])
    assert (view_state.filter, view_state.typing) == ("q", False)
    press(view_state, ["/", "z", "escape"], [])
    assert view_state.filter == ""


def test_arrows_choose_enter_opens_escape_returns():
    view_state, names = ViewState(), ["a", "b", "c"]
    press(view_state, ["down", "j", "j", "j"], names)
    assert view_state.selected == "c"
    press(view_state, ["k", "enter"], names)
    assert (view_state.page, view_state.stream(names)) == ("one", "b")
    press(view_state, ["down"], names, "one")
    assert view_state.stream(names) == "c"
    press(view_state, ["escape"], names, "one")
    assert view_state.page == "fleet"
    press(view_state, ["home"], names)
    assert view_state.selected == "a"
    press(view_state, ["page down"], names)
    assert view_state.selected == "c"


def test_s_goes_through_the_sortings_and_back():
    view_state = ViewState()
    seen = []
    for _ in SORTS:
        seen.append(view_state.sorting)
        press(view_state, ["s"], [])
    assert seen == list(SORTS)
    assert view_state.sorting == "newest"
    press(view_state, ["S"], [])
    assert view_state.sorting == "name"


def test_help_is_left_by_any_key():
    view_state = ViewState()
    press(view_state, ["?"], [])
    assert view_state.help
    assert press(view_state, ["q"], []) == [True]
    assert not view_state.help


def test_one_stream_is_shown_large_and_several_as_a_fleet(board):
    one = Board()
    one.add([prediction()], 0.0)
    assert ViewState().shown(one) == "one"
    assert ViewState().shown(board) == "fleet"


def test_a_stream_that_is_gone_gives_way_to_the_first():
    assert ViewState(selected="gone").stream(["a", "b"]) == "a"
    assert ViewState().stream([]) is None
    view_state = ViewState(selected="gone")
    press(view_state, ["down"], ["a", "b"])
    assert view_state.selected == "b"


def test_keys_from_bytes():
    assert decode(b"q\x1b[A\x1bOBj\r\x7f") == ["q", "up", "down", "j", "enter", "backspace"]
    assert decode(b"\x1b") == ["escape"]
    assert decode(b"\x1b\x1b[B") == ["escape", "down"]
    assert decode(b"\x1b[5~\x1b[6~\x1b[H\x1b[F") == ["page up", "page down", "home", "end"]
    assert decode(b"\x1b[200~\x00\xc3\xa9\x1b[<0;1;1M") == []
