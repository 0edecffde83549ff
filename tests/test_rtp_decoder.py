"""G.722 and Opus off the receive thread: in order, at their places, bounded, and not upset by garbage."""

import numpy as np
import pytest
from patience import until
from rtp_peer import Talker, feed, heard, intake, started

from streamcab.rtp.codec import Encoding
from streamcab.rtp.decode_queue import HELD, DecodeQueue
from streamcab.rtp.decoder import AvDecoder, Decoders

pytest.importorskip("av")

G722 = {9: Encoding("G722", 8000)}
OPUS = {97: Encoding("OPUS", 48000)}


@pytest.fixture
def decoders():
    made = Decoders(calls=4)
    yield made
    made.close(1.0)


def spoken(count, seed=0):
    """Packets of G.722 (any byte is G.722), and a talker's datagrams of them."""
    rng = np.random.default_rng(seed)
    talker = Talker(kind=9)
    payloads = [rng.bytes(160) for _ in range(count)]
    return payloads, [talker.say(payload) for payload in payloads]


def run(call, sent, order, now=10.0):
    for k in order:
        feed(call, [sent[k]], now)
        call.sweep(now)
        now += 0.0001
    call.sweep(now + 0.1)
    (event,) = started(call)
    return event


def test_g722_out_of_order_is_decoded_in_order(decoders):
    call = intake(encodings=G722, decoders=decoders)
    payloads, sent = spoken(60)
    order = [k ^ 1 for k in range(60)]  # each pair the wrong way round
    event = run(call, sent, [*order[:20], 3, *order[20:]])
    until(lambda: event.bank.written[event.slot] == 60 * 320, "the decoder")
    want = AvDecoder("G722").decode(b"".join(payloads))
    np.testing.assert_array_equal(heard(event.bank, event.slot), want)
    assert event.bank.rate == 16000
    assert event.bank.skipped[event.slot] == 0
    assert call.counters()["duplicate"] == 1


def test_what_is_lost_stays_missing(decoders):
    call = intake(encodings=G722, decoders=decoders)
    _, sent = spoken(40)
    event = run(call, sent, [k for k in range(40) if k not in (10, 11, 25)])
    until(lambda: event.bank.written[event.slot] == 40 * 320, "the decoder")
    gone = np.isnan(heard(event.bank, event.slot)).reshape(40, 320)
    assert np.flatnonzero(gone.all(axis=1)).tolist() == [10, 11, 25]
    assert not gone[[k for k in range(40) if k not in (10, 11, 25)]].any()
    assert event.bank.skipped[event.slot] == 3 * 320


def test_the_end_comes_after_the_last_sample(decoders):
    call = intake(encodings=G722, decoders=decoders)
    _, sent = spoken(30)
    event = run(call, sent, range(30))
    call.end_all("closed")
    until(lambda: event.bank.ended[event.slot], "the end")
    assert event.bank.written[event.slot] == 30 * 320


def test_an_overloaded_decoder_loses_and_says_so(decoders):
    decoders._limit = 0
    call = intake(encodings=G722, decoders=decoders)
    _, sent = spoken(30)
    event = run(call, sent, range(30))
    call.end_all("closed")
    until(lambda: event.bank.ended[event.slot], "the end")
    assert np.isnan(heard(event.bank, event.slot)).all()
    assert event.bank.skipped[event.slot] == 30 * 320
    assert (call.counters()["overrun"], call.counters()["accepted"]) == (30, 0)


def test_garbage_is_counted_and_leaves_other_calls_alone(decoders):
    call = intake(encodings=OPUS | G722, decoders=decoders)
    rng = np.random.default_rng(2)
    bad, now = Talker(kind=97, ssrc=1), 10.0
    payloads, sent = spoken(60)
    for k in range(60):
        feed(call, [bad.say(bytes([0xFF, 0x83]) + rng.bytes(20), samples=960), sent[k]], now)
        call.sweep(now)
        now += 0.001
    call.sweep(now + 0.1)
    good = next(event for event in started(call) if event.ssrc != 1)
    until(lambda: good.bank.written[good.slot] == 60 * 320, "the decoder")
    np.testing.assert_array_equal(heard(good.bank, good.slot), AvDecoder("G722").decode(b"".join(payloads)))


def test_waiting_payloads_are_bounded():
    waiting = DecodeQueue()
    kept = [waiting.keep(0, 160 * k, 160, G722[9], b"x") for k in range(HELD + 10)]
    assert sum(kept) == HELD
    assert [p for p, *_ in waiting.due(0, 320)] == [0, 160]
    waiting.shift(0, 100)
    assert waiting.due(0, 300)[0][0] == 220
    waiting.forget(0)
    assert waiting.due(0, 10**9) == []
