"""What a viewer keeps: the newest of each stream, 30 s of history, and bounds on everything."""

from hypothesis import given
from hypothesis import strategies as st
from test_view_synthetic import LABELS, board_of, daemon, model, prediction, status

from streamcab.view.board import Board
from streamcab.view.history import History


def spoken(history, width):
    return [None if cell is None else cell[0] for cell in history.cells(width)]


def test_the_strip_ends_with_the_newest_and_holds_30_seconds():
    history = History()
    for tenth in range(600):
        history.put(tenth / 10, 0 if tenth < 450 else 1, 0.8)
    assert spoken(history, 30) == [0] * 15 + [1] * 15
    assert len(history.cells(200)) == 200


def test_pauses_and_what_was_never_heard_are_told_apart():
    history = History()
    assert spoken(history, 6) == [-1] * 6
    for tenth in range(300):
        history.put(tenth / 10, None if 100 <= tenth < 200 else 2, 0.5)
    assert spoken(history, 6) == [2, 2, None, None, 2, 2]
    history.put(45.0, 2, 0.5)  # 15 s were lost
    assert spoken(history, 6) == [2, 2, -1, -1, -1, 2]


def test_a_pause_keeps_the_answer_that_stands():
    history = History()
    for tenth in range(300):
        history.put(tenth / 10, 1, 0.8, spoken=not 100 <= tenth < 200)
    levels = [round(cell[1], 1) for cell in history.cells(6)]
    assert spoken(history, 6) == [1] * 6
    assert levels == [0.8, 0.8, 0.0, 0.0, 0.8, 0.8]


def test_the_strip_shows_the_answer_and_not_the_newest_second():
    board = Board()
    board.add([prediction(at_s=t / 10, top="uk", confidence=0.6, now={"us": 0.9}) for t in range(300)], 0.0)
    cells = board.streams["mic"].history.cells(30)
    assert {(cell[0], round(cell[1], 1)) for cell in cells} == {(board.number("uk"), 0.6)}


def test_rates_of_messages_do_not_show():
    slow, fast = History(), History()
    for tenth in range(400):
        fast.put(tenth / 10, tenth // 50 % 3, 0.5)
        if tenth % 5 == 4:
            slow.put(tenth / 10, tenth // 50 % 3, 0.5)
    assert spoken(slow, 60) == spoken(fast, 60)


@given(st.integers(1, 400), st.integers(301, 2000))
def test_the_strip_scrolls_and_does_not_change_behind_its_front(width, tenths):
    history = History()
    for tenth in range(tenths):
        history.put(tenth / 10, tenth * 7 // 31 % 5, 0.5)
    before = history.cells(width)
    history.put(tenths / 10, 3, 0.5)
    after = history.cells(width)
    shift = tenths * width // 300 - (tenths - 1) * width // 300
    assert before[shift : width - 1][1:] == after[: width - 1 - shift][1:]


@given(st.lists(st.tuples(st.floats(0, 1e9), st.none() | st.integers(0, 500), st.floats(0, 1)), max_size=30))
def test_any_times_are_survived(events):
    history = History()
    for at_s, label, probability in events:
        history.put(at_s, label, probability)
        for width in (1, 7, 60, 301, 700):
            cells = history.cells(width)
            assert len(cells) == width
            assert all(c is None or 0.0 <= c[1] <= 1.0 for c in cells)


def test_the_newest_of_each_stream_is_kept():
    board = Board()
    board.add([prediction("a", 1.0), prediction("b", 1.0), prediction("a", 2.0, top="uk")], 5.0)
    assert board.streams["a"].top == "uk"
    assert board.streams["a"].prediction.sample == 16000
    board.add([status("a", lost_ms=70.0, overflows=2), model(), daemon(pass_ms=3.0)], 6.0)
    assert (board.streams["a"].lost_ms, board.streams["a"].overflows) == (70.0, 2)
    assert board.model(board.streams["a"]).name == "saa8k"
    assert board.daemon.pass_ms == 3.0


def test_a_silent_stream_has_no_answer():
    board = Board()
    board.add([prediction(state="silent")], 0.0)
    assert board.streams["mic"].top is None
    assert board.streams["mic"].confidence == 0.0
    assert not board.streams["mic"].doubtful


def test_an_answer_below_the_threshold_is_doubtful():
    board = Board()
    board.add([prediction("a", sure=False), prediction("b", sure=True), prediction("c")], 0.0)
    assert [board.streams[name].doubtful for name in "abc"] == [True, False, False]


def test_states_of_statuses_count_where_predictions_say_nothing():
    board = Board()
    board.add([status(state="warming")], 0.0)
    assert board.streams["mic"].state == "warming"
    board.add([prediction(state="silent"), status(state="live")], 1.0)
    assert board.streams["mic"].state == "silent"
    board.add([status(state="lost")], 2.0)
    assert board.streams["mic"].state == "lost"
    board.add([status(state="live")], 3.0)
    assert board.streams["mic"].state == "live"


def test_a_restart_begins_anew():
    board = Board()
    board.add([prediction(at_s=at / 10, run="r1") for at in range(100, 200)], 0.0)
    board.add([prediction(at_s=0.5, run="r2", top=None, confidence=None, probs={}, now={})], 1.0)
    assert board.streams["mic"].top is None
    assert all(c is None or c[0] < 0 for c in board.streams["mic"].history.cells(30))


def test_ended_streams_go_and_their_answers_stay():
    board = Board(keep_ended_s=8.0)
    board.add([prediction("a", state="ended"), prediction("b")], 0.0)
    board.add([prediction("b")], 7.0)
    assert set(board.streams) == {"a", "b"}
    board.add([prediction("b")], 9.0)
    assert set(board.streams) == {"b"}
    assert board.predictions()["a"].top == "us"
    assert board.ended == 1


def test_what_is_over_stays_longer_than_what_is_only_not_heard_of():
    board = Board(keep_ended_s=30.0, forget_s=15.0)
    board.add([prediction("a", state="ended"), prediction("b"), prediction("c")], 0.0)
    board.add([prediction("c")], 16.0)
    assert set(board.streams) == {"a", "c"}


def test_streams_that_nobody_speaks_of_go_but_not_while_the_feed_is_quiet():
    board = Board(forget_s=15.0)
    board.add([prediction("a"), prediction("b")], 0.0)
    assert not board.quiet(3.0)
    assert board.quiet(3.1)
    assert board.age(100.0) == 100.0
    board.add([], 100.0)
    assert board.age(100.0) == 100.0
    board.add([prediction("b")], 100.0)
    assert set(board.streams) == {"b"}


def test_an_unheard_feed_has_no_age():
    assert Board().age(5.0) is None
    assert not Board().quiet(5.0)


def test_streams_labels_models_and_answers_are_bounded():
    board = Board(most=50)
    board.add([prediction(f"s{i}") for i in range(60)], 0.0)
    assert len(board.streams) == 50
    assert board.full
    board.add([prediction("s0", state="ended"), prediction("new")], 1.0)
    assert "new" in board.streams
    assert len(board.streams) == 50
    for i in range(2000):
        board.add([prediction("new", labels=[f"l{i}"], now={f"l{i}": 1.0}), model(model=f"m{i}")], 1.0)
    assert len(board.labels()) <= 256
    assert len(board.models) <= 64
    for i in range(1000):
        board.add([prediction(f"s{i + 100}", state="ended")], 100.0 + 20 * i)
    assert len(board.finals) <= 256


def test_labels_keep_their_numbers():
    board = Board()
    board.add([prediction()], 0.0)
    assert [board.number(label) for label in LABELS] == [0, 1, 2]
    board.add([prediction(labels=["x", "uk"])], 0.0)
    assert [board.number(label) for label in [*LABELS, "x"]] == [0, 1, 2, 3]


def test_a_talk_fills_a_board():
    board = board_of(3, seconds=10)
    assert len(board.streams) == 3
    assert all(len(s.history.cells(30)) == 30 for s in board.streams.values())
