"""Positions, holes and loss: what was sent is in the ring, bit for bit, whatever the order it came in."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rtp_peer import HERE, Talker, feed, heard, intake, packet, started

from streamcab.rtp.codec import TABLES, Encoding
from streamcab.rtp.intake import PROBATION

LOOKBACK = 480
"""Samples of 60 ms at 8 kHz."""


@st.composite
def journeys(draw):
    """Packets of varying sizes from one sender, and an order of arrival that the look-back covers."""
    sizes = draw(st.lists(st.integers(1, 400), min_size=6, max_size=50))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    start = np.r_[0, np.cumsum(sizes)[:-1]]
    # A packet is overtaken by those that end within the look-back of its start.
    slack = draw(st.sampled_from([0.0, 0.5, 1.0]))
    arrival = start + sizes + rng.random(len(sizes)) * slack * (LOOKBACK - np.array(sizes) - 1)
    lost = rng.random(len(sizes)) < draw(st.sampled_from([0.0, 0.1, 0.4]))
    order = [int(k) for k in np.argsort(arrival, kind="stable") if not lost[k]]
    for k in list(order):
        if rng.random() < draw(st.sampled_from([0.0, 0.2])):
            order.insert(int(rng.integers(order.index(k) + 1, len(order) + 1)), k)
    cuts = sorted(rng.integers(0, len(order) + 1, draw(st.integers(0, len(order)))).tolist())
    first = draw(st.sampled_from([(65530, 2**32 - 700), (0, 0), (17, 2**31 - 300), (65535, 12345)]))
    payloads = [rng.bytes(size) for size in sizes]
    return sizes, start, payloads, order, cuts, first


@settings(max_examples=100, deadline=None)
@given(journeys(), st.sampled_from([0, 8]))
def test_any_order_is_bit_exact(journey, kind):
    sizes, start, payloads, order, cuts, (sequence, time) = journey
    call = intake()
    sent = [(packet(sequence + k, time + int(start[k]), payloads[k], kind=kind), HERE) for k in order]
    now = 10.0
    for a, b in zip([0, *cuts], [*cuts, len(sent)], strict=True):
        feed(call, sent[a:b], now)
        call.sweep(now)
        now += 1e-4
    distinct = list(dict.fromkeys(order))
    if len(distinct) < PROBATION:
        assert not started(call)
        return
    # What the call begins with is the earliest packet of the batch that made it known.
    made = next(k for k in range(1, len(order) + 1) if len(set(order[:k])) >= PROBATION)
    until = next((cut for cut in cuts if cut >= made), len(order))
    origin = int(min(start[k] for k in order[:until]))
    end = int(max(start[k] + sizes[k] for k in distinct))
    expected = np.full(end - origin, np.nan, np.float32)
    for k in distinct:
        if start[k] >= origin:
            at = int(start[k]) - origin
            codes = np.frombuffer(payloads[k], np.uint8)
            expected[at : at + sizes[k]] = TABLES["PCMU" if kind == 0 else "PCMA"][codes] / 32768.0
    (event,) = started(call)
    call.sweep(now + 0.1)
    np.testing.assert_array_equal(heard(event.bank, event.slot), expected)
    counts = call.counters()
    early = sum(start[k] < origin for k in distinct)
    assert counts["accepted"] == len(distinct) - early
    assert counts["duplicate"] + counts["late"] == len(order) - len(distinct) + early
    assert counts["received"] == len(order)


def talk(call, count, *, talker=None, now=10.0, tick=0.02, size=160, seed=0, skip=()):
    """`count` packets, one per batch, without those numbered in `skip`; returns their codes and the time
    after.
    """
    talker = talker or Talker()
    rng = np.random.default_rng(seed)
    codes = []
    for k in range(count):
        payload = rng.bytes(size)
        codes.append(payload)
        made = talker.say(payload)
        if k not in skip:
            feed(call, [made], now)
        call.sweep(now)
        now += tick
    return codes, now


def samples(codes):
    return np.concatenate([TABLES["PCMU"][np.frombuffer(c, np.uint8)] for c in codes]) / np.float32(32768)


def test_the_reader_has_all_that_came_while_nothing_is_missing():
    call = intake()
    codes, now = talk(call, 10)
    (event,) = started(call)
    bank, row = event.bank, event.slot
    assert bank.written[row] == 1600
    assert bank.stamp[row] == pytest.approx(now - 0.02)
    np.testing.assert_array_equal(heard(bank, row), samples(codes))


@pytest.mark.parametrize("first", range(1, LOOKBACK // 160 + 1))
def test_a_first_packet_that_was_overtaken_is_heard(first):
    call, talker = intake(), Talker()
    sent = [talker.say(bytes([k]) * 160) for k in range(8)]
    for k, which in enumerate([*range(1, first + 1), 0, *range(first + 1, 8)]):
        feed(call, [sent[which]], 10 + 0.02 * k)
    (event,) = started(call)
    np.testing.assert_array_equal(
        heard(event.bank, event.slot), samples([bytes([k]) * 160 for k in range(8)])
    )


def test_behind_a_missing_packet_the_reader_stays_back_by_the_lookback_and_catches_up_in_silence():
    call = intake()
    codes, now = talk(call, 20, skip={17})
    (event,) = started(call)
    bank, row = event.bank, event.slot
    assert bank.written[row] == 3200 - LOOKBACK
    assert bank.stamp[row] == pytest.approx(now - 0.02 - LOOKBACK / 8000)
    call.sweep(now + 0.03)
    assert bank.written[row] == 3200 - LOOKBACK
    call.sweep(now + 0.06)
    assert bank.written[row] == 3200
    assert bank.stamp[row] == pytest.approx(now - 0.02)
    want = samples(codes)
    want[17 * 160 : 18 * 160] = np.nan
    np.testing.assert_array_equal(heard(bank, row), want)


def test_when_what_is_missing_is_given_up_the_reader_has_all_that_came():
    call = intake()
    _, _ = talk(call, 20, skip={10})
    (event,) = started(call)
    assert event.bank.written[event.slot] == 3200


def test_loss_is_counted_and_marked():
    call = intake()
    codes, now = talk(call, 60, skip={10, 20, 21, 22})
    (event,) = started(call)
    call.sweep(now + 0.1)
    got = heard(event.bank, event.slot)
    want = samples(codes)
    for k in (10, 20, 21, 22):
        want[160 * k : 160 * (k + 1)] = np.nan
    np.testing.assert_array_equal(got, want)
    assert event.bank.skipped[event.slot] == 4 * 160
    assert call.counters()["lost_packets"] == 4


def test_a_packet_that_comes_after_its_samples_were_read_is_late_and_changes_nothing():
    call, talker = intake(), Talker()
    sent = [talker.say(bytes([k]) * 160) for k in range(20)]
    now = 10.0
    for k, made in enumerate(sent):
        if k != 10:
            feed(call, [made], now)
        call.sweep(now)
        now += 0.02
    (event,) = started(call)
    written = int(event.bank.written[event.slot])
    before = heard(event.bank, event.slot)
    feed(call, [sent[10]], now)
    assert event.bank.written[event.slot] == written
    np.testing.assert_array_equal(heard(event.bank, event.slot), before)
    assert np.isnan(before[1600:1760]).all()
    counts = call.counters()
    assert (counts["late"], counts["accepted"], counts["lost_packets"]) == (1, 19, 1)
    assert event.bank.skipped[event.slot] == 160


@settings(max_examples=50, deadline=None)
@given(st.sets(st.integers(1, 58)), st.randoms(use_true_random=False), st.integers(1, 60))
def test_loss_is_exact_whatever_the_order(gone, random, batch):
    call, talker = intake(), Talker()
    sent = [talker.say(bytes(160)) for _ in range(60)]
    # Each may be overtaken by one neighbour: two packets of 20 ms are within the look-back.
    order = sorted((k for k in range(60) if k not in gone), key=lambda k: k + random.choice([0.0, 1.5]))
    now = 10.0
    for at in range(0, len(order), batch):
        feed(call, [sent[k] for k in order[at : at + batch]], now)
        now += 0.001
    call.sweep(now + 0.1)
    if not started(call):
        return
    (event,) = started(call)
    late = call.counters()["late"]
    if late == 0:
        assert event.bank.skipped[event.slot] == 160 * len(gone)
        assert call.counters()["lost_packets"] == len(gone)
        assert np.isnan(heard(event.bank, event.slot)).sum() == 160 * len(gone)


def test_silence_suppression_is_no_loss():
    call, talker = intake(), Talker()
    _, now = talk(call, 10, talker=talker)
    talker.time += 20160 - 160  # as gst-opusenc does: one packet each 420 ms, numbered on
    _, now = talk(call, 10, talker=talker, now=now + 2.5, seed=1)
    (event,) = started(call)
    call.sweep(now + 0.1)
    assert event.bank.skipped[event.slot] == 0
    assert call.counters()["lost_packets"] == 0
    got = heard(event.bank, event.slot)
    assert len(got) == 1600 + 20000 + 1600
    assert np.isnan(got[1600:21600]).all()
    assert not np.isnan(got[21600:]).any()


def test_a_hole_never_shows_what_the_ring_held_before():
    call, talker = intake(), Talker()
    _, now = talk(call, 450, talker=talker, size=160)  # 9 s: the ring of 4 s is full of old samples
    (event,) = started(call)
    for _ in range(40):
        talker.time += 3 * 160
        _, now = talk(call, 1, talker=talker, now=now + 0.06)
    call.sweep(now + 0.1)
    got = heard(event.bank, event.slot, start=450 * 160).reshape(-1, 160)
    silent = np.isnan(got).all(axis=1)
    assert silent.reshape(-1, 4).tolist() == [[True, True, True, False]] * 40


def test_what_the_ring_has_overwritten_reads_as_missing():
    call = intake()
    _, now = talk(call, 450)
    (event,) = started(call)
    call.sweep(now + 0.1)
    got = heard(event.bank, event.slot)
    oldest = int(event.bank.oldest(np.array([event.slot]))[0])
    assert np.isnan(got[:oldest]).all()
    assert not np.isnan(got[oldest:]).any()
    assert len(got) - oldest >= 3.4 * 8000


def test_a_jump_beyond_all_proportion_moves_the_origin():
    call, talker = intake(), Talker()
    before, now = talk(call, 20, talker=talker)
    talker.time += 123_456_789
    talker.sequence += 777
    after, now = talk(call, 20, talker=talker, now=now + 0.5, seed=1)
    (event,) = started(call)
    call.sweep(now + 0.1)
    got = heard(event.bank, event.slot)
    assert call.counters()["restarts"] == 1
    assert call.counters()["jumped"] == 0  # the first ones are kept until others follow them
    np.testing.assert_array_equal(got[:3200], samples(before))
    np.testing.assert_array_equal(got[-20 * 160 :], samples(after))
    hole = got[3200 : -20 * 160]
    assert np.isnan(hole).all()
    assert 0.5 * 8000 <= len(hole) <= 0.6 * 8000
    assert event.bank.skipped[event.slot] == 0
    assert (event.bank.silence_from[event.slot], event.bank.silence_to[event.slot]) == (
        3200,
        3200 + len(hole),
    )


def test_a_jump_within_one_batch_moves_the_origin_once():
    call, talker = intake(), Talker()
    _, now = talk(call, 20, talker=talker)
    talker.time -= 987_654_321
    talker.sequence += 30_000
    feed(call, [talker.say(bytes(160)) for _ in range(10)], now)
    call.sweep(now + 0.1)
    assert call.counters()["restarts"] == 1
    assert call.counters()["jumped"] == 0
    assert call.counters()["received"] == call.counters()["accepted"] == 30
    (event,) = started(call)
    assert not np.isnan(heard(event.bank, event.slot)).any()


@pytest.mark.parametrize("count", [1, 4])
def test_a_few_stray_packets_change_nothing(count):
    call, talker = intake(), Talker()
    before, now = talk(call, 10, talker=talker)
    for k in range(count):
        feed(
            call, [(packet(talker.sequence + 9000 + k, talker.time + 10**8 + 160 * k, bytes(160)), HERE)], now
        )
    after, now = talk(call, 10, talker=talker, now=now, seed=1)
    (event,) = started(call)
    call.sweep(now + 0.1)
    assert call.counters()["restarts"] == 0
    assert call.counters()["jumped"] == count
    np.testing.assert_array_equal(heard(event.bank, event.slot), samples(before + after))


def test_a_hold_with_a_running_clock_is_silence_however_long():
    call, talker = intake(idle_s=60.0), Talker()
    _, now = talk(call, 10, talker=talker)
    talker.time += 30 * 8000
    _, now = talk(call, 10, talker=talker, now=now + 30.0)
    (event,) = started(call)
    assert call.counters()["restarts"] == 0
    assert call.counters()["jumped"] == 0
    call.sweep(now + 0.1)
    assert event.bank.written[event.slot] == 20 * 160 + 30 * 8000


def test_a_sequence_that_begins_anew_is_no_loss():
    call, talker = intake(), Talker()
    _, now = talk(call, 10, talker=talker)
    talker.sequence = 20000
    _, now = talk(call, 10, talker=talker, now=now)
    (event,) = started(call)
    call.sweep(now + 0.1)
    assert call.counters()["lost_packets"] == 0
    assert event.bank.skipped[event.slot] == 0
    assert event.bank.written[event.slot] == 20 * 160


def test_hours_of_running_move_nothing():
    """A week of packets, one each ten minutes: the timestamp wraps at once, and again after six days."""
    call, talker = intake(idle_s=1000.0), Talker(time=2**32 - 1)
    _, now = talk(call, 5, talker=talker)
    for _ in range(7 * 24 * 6):
        talker.time += 600 * 8000 - 160
        _, now = talk(call, 1, talker=talker, now=now + 600.0)
    (event,) = started(call)
    call.sweep(now + 0.1)
    assert event.bank.written[event.slot] == 5 * 160 + 7 * 24 * 3600 * 8000
    assert call.counters()["jumped"] == 0


def test_telephone_events_and_comfort_noise_make_no_stream_and_no_loss():
    call, talker = intake(), Talker()
    _, now = talk(call, 10, talker=talker)
    for k in range(20):
        kind = 101 if k % 2 else 13
        feed(call, [(packet(talker.sequence, talker.time, bytes(4), kind=kind), HERE)], now)
        talker.sequence += 1
        now += 0.02
    talker.time += 20 * 160
    _, now = talk(call, 10, talker=talker, now=now)
    alone = [(packet(k, 160 * k, bytes(4), kind=101, ssrc=99), HERE) for k in range(20)]
    feed(call, alone, now)
    (event,) = started(call)
    call.sweep(now + 0.1)
    counts = call.counters()
    assert (counts["event"], counts["comfort_noise"]) == (30, 10)
    assert counts["lost_packets"] == 0
    assert event.bank.skipped[event.slot] == 0


def test_unknown_types_make_no_stream():
    call = intake()
    feed(call, [(packet(k, 160 * k, bytes(160), kind=111), HERE) for k in range(20)], 1.0)
    assert not started(call)
    assert call.counters()["unknown_type"] == 20


def test_g711_may_change_its_law_within_a_call():
    call, talker = intake(), Talker()
    _, now = talk(call, 10, talker=talker)
    talker.kind = 8
    codes, now = talk(call, 10, talker=talker, now=now, seed=1)
    (event,) = started(call)
    call.sweep(now + 0.1)
    a_law = TABLES["PCMA"][np.frombuffer(b"".join(codes), np.uint8)] / np.float32(32768)
    np.testing.assert_array_equal(heard(event.bank, event.slot)[1600:], a_law)


def test_another_rate_is_another_stream():
    call = intake(encodings={0: Encoding("PCMU", 8000), 96: Encoding("L16", 16000)})
    talker = Talker()
    _, now = talk(call, 10, talker=talker)
    talker.kind = 96
    for _ in range(10):
        feed(call, [talker.say(bytes(640), samples=320)], now)
        now += 0.02
    first, second = started(call)
    assert (first.bank.rate, second.bank.rate) == (8000, 16000)
    for _ in range(150):
        feed(call, [talker.say(bytes(640), samples=320)], now)
        call.sweep(now)
        now += 0.02
    assert first.bank.ended[first.slot]
    assert not second.bank.ended[second.slot]


@pytest.mark.parametrize(
    ("encoding", "make"),
    [
        (Encoding("L16", 44100), lambda x: x.astype(">i2").tobytes()),
        (Encoding("L24", 48000), lambda x: x.astype(">i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()),
    ],
)
def test_linear_samples_are_exact(encoding, make):
    call, talker = intake(encodings={96: encoding}), Talker(kind=96)
    rng = np.random.default_rng(5)
    bits = 16 if encoding.name == "L16" else 32
    values = rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), 3000).astype(np.int64)
    values[:2] = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    if bits == 32:
        values &= ~0xFF
    now = 1.0
    for at in range(0, 3000, 365):
        part = values[at : at + 365]
        feed(call, [talker.say(make(part), samples=len(part))], now)
        now += 0.008
    call.sweep(now + 0.1)
    (event,) = started(call)
    np.testing.assert_array_equal(
        heard(event.bank, event.slot), (values / 2.0 ** (bits - 1)).astype(np.float32)
    )


@pytest.mark.parametrize(("channel", "want"), [(None, 0.5 * (100 + 300)), (1, 100.0), (2, 300.0), (7, 300.0)])
def test_stereo_is_mixed_or_picked(channel, want):
    call = intake(channel=channel)
    frames = np.tile(np.array([100, 300], ">i2"), 365)
    talker, now = Talker(kind=10), 1.0
    for _ in range(6):
        feed(call, [talker.say(frames.tobytes(), samples=365)], now)
        now += 0.008
    call.sweep(now + 0.1)
    (event,) = started(call)
    got = heard(event.bank, event.slot)
    assert len(got) == 6 * 365
    assert (got == np.float32(want / 32768)).all()


def test_half_a_frame_is_malformed():
    call = intake()
    feed(call, [(packet(k, 365 * k, bytes(1461), kind=11), HERE) for k in range(9)], 1.0)
    assert call.counters()["malformed"] == 9
