"""Audio of calls into rings: every message at its place, and what never came missing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcab.media.calls import Calls
from streamcab.media.events import Audio, Malformed, Start
from streamcab.media.tracks import Leg, Rings, Writer, byte_order, decoded
from streamcab.rtp.codec import TABLES

FRAME = 160


class Nobody:
    """The owner of a call in these tests."""

    def __init__(self) -> None:
        self.replaced_times = 0

    def replaced(self) -> None:
        self.replaced_times += 1


def leg_of(codec: str = "PCMU", channels: int = 1, lookback: int = 0, rate: int = 8000) -> Leg:
    leg = Leg(codec, rate, channels, lookback)
    taken = Rings(4).take(rate, leg.compact, channels)
    assert taken is not None
    leg.bank, leg.rows = taken
    return leg


def heard(leg: Leg, channel: int = 0) -> np.ndarray:
    """All that the reader may read; NaN where something is missing."""
    assert leg.bank is not None
    row = np.array([leg.rows[channel]])
    return leg.bank.read(row, np.array([0]), int(leg.bank.written[row[0]]))[0]


def numbered(k: int) -> bytes:
    """A frame of mu-law that tells its number."""
    return bytes([k]) * FRAME


def codes_of(samples: np.ndarray) -> list[int | None]:
    """The numbers of the frames that were heard."""
    table = {float(v) / 32768: k for k, v in enumerate(TABLES["PCMU"].tolist())}
    frames = samples.reshape(-1, FRAME)
    assert all(np.isnan(f).all() or (f == f[0]).all() for f in frames)
    return [None if np.isnan(f[0]) else table[float(f[0])] for f in frames]


def run(leg: Leg, messages: list[tuple[int, int | None]], flush_each: int = 1) -> list[int | None]:
    writer = Writer()
    for n, (k, at_ms) in enumerate(messages):
        writer.put(leg, numbered(k), at_ms, 0.0)
        if n % flush_each == 0:
            writer.flush(0.0)
    writer.finish(leg, 0.0)
    return codes_of(heard(leg))


def test_without_times_messages_follow_each_other() -> None:
    assert run(leg_of(), [(k, None) for k in range(1, 6)]) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("origin", [0, 5_000, 1_700_000_000_000])
def test_what_the_times_leave_out_is_missing(origin: int) -> None:
    leg = leg_of()
    assert run(leg, [(k, origin + 20 * (k - 1)) for k in (1, 2, 5, 6)]) == [1, 2, None, None, 5, 6]
    assert leg.bank is not None
    assert leg.bank.skipped[leg.rows[0]] == 2 * FRAME


def test_a_doubled_message_counts_once_and_a_late_one_is_lost_where_order_is_promised() -> None:
    leg = leg_of()
    assert run(leg, [(1, 0), (2, 20), (2, 20), (4, 60), (3, 40)]) == [1, 2, None, 4]
    assert leg.late == 2


@given(st.permutations(range(1, 6)), st.integers(1, 5))
def test_a_late_message_fills_its_place_where_order_is_not_promised(
    order: list[int], flush_each: int
) -> None:
    leg = leg_of(lookback=6 * FRAME)
    messages = [(1, 0)] + [(k + 1, 20 * k) for k in order]
    assert run(leg, messages, flush_each) == [1, 2, 3, 4, 5, 6]
    assert leg.bank is not None
    assert leg.bank.skipped[leg.rows[0]] == 0
    assert leg.late == 0


def test_late_beyond_the_look_back_is_lost() -> None:
    leg = leg_of(lookback=2 * FRAME)
    assert run(leg, [(1, 0), (3, 40), (4, 60), (5, 80), (6, 100), (2, 20)]) == [1, None, 3, 4, 5, 6]
    assert leg.bank is not None
    assert leg.bank.skipped[leg.rows[0]] == FRAME
    assert leg.late == 1


@pytest.mark.parametrize("jump", [10**12, -(10**12), 2**52])
def test_a_clock_that_leaps_tells_nothing(jump: int) -> None:
    leg = leg_of()
    assert run(leg, [(1, 0), (2, 20), (3, jump), (4, jump + 20)]) == [1, 2, 3, 4]


def test_times_that_are_a_few_ms_off_are_no_gap() -> None:
    jitter = [0, 7, -6, 3, -9, 8, 5, -4, 0, 2]
    assert run(leg_of(), [(k + 1, 100 + 20 * k + j) for k, j in enumerate(jitter)]) == list(range(1, 11))


def test_a_clock_that_drifts_is_followed() -> None:
    # 200 ppm for 30 minutes: 360 ms, in none of which a sample is lost.
    leg = leg_of()
    for k in range(90_000):
        leg.place(FRAME, round(20 * k * 1.0002))
    assert leg.position == 90_000 * FRAME


@pytest.mark.parametrize("codec", ["PCMU", "PCMA"])
@pytest.mark.parametrize("size", [256, 255])
def test_every_code_of_g711(codec: str, size: int) -> None:
    payload = bytes(range(256))[:size]
    assert decoded(codec, 1, [payload]).reshape(-1).tolist() == TABLES[codec][:size].tolist()


def test_sixteen_bits_in_both_orders_and_two_channels() -> None:
    values = np.array([[1, -2], [32767, -32768], [0, 300]], np.int16)
    for codec, order in (("L16LE", "<i2"), ("L16BE", ">i2")):
        found = decoded(codec, 2, [values.astype(order).tobytes()])
        assert found.shape == (1, 3, 2)
        assert (found[0] * 32768 == values).all()


def test_interleaved_channels_are_rows_of_their_own() -> None:
    leg, writer = leg_of("L16LE", channels=2), Writer()
    left, right = np.arange(1, 101, dtype="<i2"), -np.arange(1, 101, dtype="<i2")
    writer.put(leg, np.stack([left, right], 1).tobytes(), None, 0.0)
    writer.flush(0.0)
    assert (heard(leg, 0) * 32768 == left).all()
    assert (heard(leg, 1) * 32768 == right).all()


@pytest.mark.parametrize(("codec", "channels", "size"), [("L16LE", 1, 3), ("L16LE", 2, 6), ("PCMU", 2, 5)])
def test_half_a_sample_is_malformed(codec: str, channels: int, size: int) -> None:
    with pytest.raises(Malformed):
        Writer().put(leg_of(codec, channels), bytes(size), None, 0.0)


def test_of_a_message_longer_than_the_ring_the_newest_is_kept() -> None:
    leg, writer = leg_of("L16LE"), Writer()
    assert leg.bank is not None
    n = 2 * leg.bank.capacity + 77
    values = (np.arange(n) % 30_000).astype("<i2")
    writer.put(leg, values.tobytes(), None, 0.0)
    writer.flush(0.0)
    late = np.array([n - 8000])
    assert (leg.bank.read(np.array(leg.rows), late, 8000)[0] * 32768 == values[-8000:]).all()


@pytest.mark.parametrize("order", ["<i2", ">i2"])
def test_speech_tells_the_order_of_its_bytes(order: str) -> None:
    rng = np.random.default_rng(1)
    talk = np.cumsum(rng.normal(0, 300, 1600)).clip(-20_000, 20_000).astype(order)
    assert byte_order(talk.tobytes()) == {"<i2": "L16LE", ">i2": "L16BE"}[order]
    assert byte_order(bytes(640)) == byte_order(rng.bytes(640)) == byte_order(b"\1\2") == ""


def test_a_call_of_unknown_order_is_heard_right_from_the_first_speech() -> None:
    leg, writer = leg_of("L16"), Writer()
    talk = (8000 * np.sin(np.arange(3200) / 9)).astype(">i2")
    for payload in (bytes(640), talk[:1600].tobytes(), talk[1600:].tobytes()):
        writer.put(leg, payload, None, 0.0)
    writer.flush(0.0)
    assert (heard(leg)[:320] == 0).all()
    assert (heard(leg)[320:] * 32768 == talk).all()


def begun(calls: Calls, owner: Nobody, *, call: str = "c", now: float = 0.0, rate: int = 8000) -> object:
    return calls.begin("twilio", Start(call, ("inbound",), "PCMU", rate), owner, "192.0.2.1", 0.0, now)


def told(calls: Calls) -> list[str]:
    news = [n.what for n in calls.news]
    calls.news.clear()
    return news


def test_a_call_goes_on_over_another_connection_and_what_was_lost_is_missing() -> None:
    calls, first, second = Calls(4, 10.0), Nobody(), Nobody()
    call = begun(calls, first)
    leg = calls.audio(call, Audio(0, numbered(1), 0), 0.0)
    calls.broke(call, first, 1.0)
    calls.watch(5.0)
    assert told(calls) == ["began", "lost"]
    again = begun(calls, second, now=6.0)
    assert again is call
    calls.audio(call, Audio(0, numbered(2), 0), 6.0)
    calls.tick(6.0)
    calls.watch(6.1)
    assert leg is not None
    assert leg.bank is not None
    assert leg.bank.skipped[leg.rows[0]] == 6 * 8000
    assert leg.bank.written[leg.rows[0]] == 6 * 8000 + 2 * FRAME
    assert calls.counts["media_resumed"] == 1
    assert first.replaced_times == 0


def test_a_call_that_does_not_come_back_ends() -> None:
    calls, owner = Calls(4, 10.0), Nobody()
    call = begun(calls, owner)
    calls.audio(call, Audio(0, numbered(1), 0), 0.0)
    calls.broke(call, owner, 1.0)
    calls.watch(10.9)
    assert told(calls) == ["began", "lost"]
    calls.watch(11.0)
    assert told(calls) == ["ended"]
    assert calls.alive == 0


def test_the_newer_of_two_connections_has_the_call() -> None:
    calls, older, newer = Calls(4, 10.0), Nobody(), Nobody()
    call = begun(calls, older)
    assert begun(calls, newer) is call
    assert older.replaced_times == 1
    calls.over(call, older, "hung up", 1.0)
    calls.broke(call, older, 1.0)
    assert calls.alive == 1, "the older connection has no say any more"


def test_a_call_in_another_form_begins_anew() -> None:
    calls, owner = Calls(4, 10.0), Nobody()
    call = begun(calls, owner)
    calls.audio(call, Audio(0, numbered(1), 0), 0.0)
    assert begun(calls, Nobody(), rate=16000) is not call
    assert told(calls) == ["began", "ended"]


def test_a_stream_stalls_and_comes_back() -> None:
    calls, owner = Calls(4, 10.0), Nobody()
    call = begun(calls, owner)
    calls.audio(call, Audio(0, numbered(1), 0), 0.0)
    calls.watch(0.9)
    calls.watch(1.1)
    calls.watch(1.2)
    calls.audio(call, Audio(0, numbered(1), 20), 1.3)
    calls.watch(1.3)
    assert told(calls) == ["began", "stalled", "live"]


def test_a_row_goes_to_another_call_when_both_sides_are_done_with_it() -> None:
    calls, owner = Calls(1, 10.0), Nobody()
    call = begun(calls, owner)
    calls.audio(call, Audio(0, numbered(1), 0), 0.0)
    (began,) = calls.news
    other = begun(calls, Nobody(), call="d")
    assert calls.audio(other, Audio(0, numbered(1), 0), 0.0) is None
    assert calls.counts["media_refused"] == 1
    calls.end(call, "hung up", 1.0)
    assert calls.rings.free == 0
    calls.release(began.stream)
    calls.release(began.stream)
    assert calls.rings.free == 1


def test_many_calls_at_once_are_heard_as_each_alone() -> None:
    rng = np.random.default_rng(2)
    calls, owner = Calls(64, 10.0), Nobody()
    talks = [rng.bytes(FRAME * 5) for _ in range(40)]
    legs = []
    for k in range(5):
        for number, talk in enumerate(talks):
            call = calls._calls.get(("twilio", str(number))) or begun(calls, owner, call=str(number))
            legs.append(calls.audio(call, Audio(0, talk[k * FRAME : (k + 1) * FRAME], 20 * k), 0.0))
        if k % 2:
            calls.tick(0.0)
    calls.tick(0.0)
    for talk, leg in zip(talks, legs, strict=False):
        assert leg is not None
        assert (heard(leg) * 32768 == TABLES["PCMU"][np.frombuffer(talk, np.uint8)]).all()
