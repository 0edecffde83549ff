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


def test_filter_is_a_part_of_a_name_in_any_case(board):
    assert sort(board, ViewState(filter="CALL", sorting="name")) == ["call-9", "call-10"]
    assert sort(board, ViewState(filter="nobody")) == []


def press(choice, keys, names, page="fleet"):
    return [choice.key(key, names, page) for key in keys]


def test_q_quits_except_while_typing():
    choice = ViewState()
    assert press(choice, ["q"], []) == [False]
    press(choice, ["/", "q"], [])
    assert choice.filter == "q"
    press(choice, ["x", "backspace", "enter"], [])
    assert (choice.filter, choice.typing) == ("q", False)
    press(choice, ["/", "z", "escape"], [])
    assert choice.filter == ""


def test_arrows_choose_enter_opens_escape_returns():
    choice, names = ViewState(), ["a", "b", "c"]
    press(choice, ["down", "j", "j", "j"], names)
    assert choice.selected == "c"
    press(choice, ["k", "enter"], names)
    assert (choice.page, choice.stream(names)) == ("one", "b")
    press(choice, ["down"], names, "one")
    assert choice.stream(names) == "c"
    press(choice, ["escape"], names, "one")
    assert choice.page == "fleet"
    press(choice, ["home"], names)
    assert choice.selected == "a"
    press(choice, ["page down"], names)
    assert choice.selected == "c"


def test_s_goes_through_the_sortings_and_back():
    choice = ViewState()
    seen = []
    for _ in SORTS:
        seen.append(choice.sorting)
        press(choice, ["s"], [])
    assert seen == list(SORTS)
    assert choice.sorting == "newest"
    press(choice, ["S"], [])
    assert choice.sorting == "name"


def test_help_is_left_by_any_key():
    choice = ViewState()
    press(choice, ["?"], [])
    assert choice.help
    assert press(choice, ["q"], []) == [True]
    assert not choice.help


def test_one_stream_is_shown_large_and_several_as_a_fleet(board):
    one = Board()
    one.add([prediction()], 0.0)
    assert ViewState().shown(one) == "one"
    assert ViewState().shown(board) == "fleet"


def test_a_stream_that_is_gone_gives_way_to_the_first():
    assert ViewState(selected="gone").stream(["a", "b"]) == "a"
    assert ViewState().stream([]) is None
    choice = ViewState(selected="gone")
    press(choice, ["down"], ["a", "b"])
    assert choice.selected == "b"


def test_keys_from_bytes():
    assert decode(b"q\x1b[A\x1bOBj\r\x7f") == ["q", "up", "down", "j", "enter", "backspace"]
    assert decode(b"\x1b") == ["escape"]
    assert decode(b"\x1b\x1b[B") == ["escape", "down"]
    assert decode(b"\x1b[5~\x1b[6~\x1b[H\x1b[F") == ["page up", "page down", "home", "end"]
    assert decode(b"\x1b[200~\x00\xc3\xa9\x1b[<0;1;1M") == []
