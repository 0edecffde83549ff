"""Senders whose numbers or clocks step, count wrongly or are off: what was sent in order is heard, to the sample.

Packets are made here, for every codec; time is handed in.
"""

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from rtp_peer import HERE, bye, feed, heard, intake, packet, started, until
from searches import examples

from streamcab.rtp import codec
from streamcab.rtp.codec import Encoding
from streamcab.rtp.decoder import AvDecoder, Decoders, available
from streamcab.rtp.events import CallEnded, FlawFound

PACKET_S = 0.02
ENCODINGS = {
    0: Encoding("PCMU", 8000),
    8: Encoding("PCMA", 8000),
    9: Encoding("G722", 8000),
    96: Encoding("L16", 16000),
    97: Encoding("OPUS", 48000),
    98: Encoding("L16", 8000, 2),
    99: Encoding("L24", 16000),
}
needs_av = pytest.mark.skipif(not available(), reason="PyAV is not here")
CODECS = [pytest.param(k, id=str(e), marks=needs_av if e.stateful else ()) for k, e in ENCODINGS.items()]


@pytest.fixture(scope="module")
def decoders():
    """Threads for all tests: each ends its calls, lest the next one begin with their state."""
    made = Decoders(calls=64)
    yield made
    made.close(1.0)


def opus_packets(count, seed):
    import av

    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format = 48000, "mono", "s16"
    rng = np.random.default_rng(seed)
    made = []
    for k in range(count + 2):
        sound = (3000 * np.sin(np.arange(960) * (0.05 + 0.01 * k)) + rng.normal(0, 300, 960)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(sound[None], "s16", "mono")
        frame.sample_rate = 48000
        made += [bytes(p) for p in encoder.encode(frame)]
    return made[:count]


def payloads(kind, count, seed=0):
    """20 ms each."""
    encoding = ENCODINGS[kind]
    if encoding.name == "OPUS":
        return opus_packets(count, seed)
    rng = np.random.default_rng(seed)
    size = 160 if encoding.name == "G722" else int(encoding.clock * PACKET_S) * encoding.frame
    # Not all codes, lest it look encrypted.
    return [rng.integers(0, 128, size, np.uint8).tobytes() for _ in range(count)]


def sound(kind, some):
    """What a decoder makes of payloads, one after the other."""
    encoding = ENCODINGS[kind]
    if encoding.name == "G722":
        return AvDecoder("G722").decode(b"".join(some))
    if encoding.name == "OPUS":
        decoder = AvDecoder("OPUS")
        return np.concatenate([decoder.decode(payload) for payload in some])
    return codec.decode(encoding, np.frombuffer(b"".join(some), np.uint8)[None], None)[0]


class Sender:
    """Every field of its packets is free; `now` is the wall time by which they arrive."""

    def __init__(self, call, kind, ssrc=0x1234):
        self.call, self.kind, self.ssrc = call, kind, ssrc
        self.number, self.time, self.now = 65_500, 2**32 - 9_000, 10.0
        self.ticks = int(ENCODINGS[kind].clock * PACKET_S)
        self.jitter = iter(lambda: 0, 1)

    def say(self, some, pace=PACKET_S):
        for payload in some:
            self.send(payload)
            self.now += pace

    def send(self, payload, kind=None):
        time = self.time + next(self.jitter)
        one = packet(self.number, time, payload, ssrc=self.ssrc, kind=self.kind if kind is None else kind)
        feed(self.call, [(one, HERE)], self.now)
        self.call.sweep(self.now)
        self.number += 1
        self.time += self.ticks

    def pause(self, seconds, clock=True):
        self.now += seconds
        self.time += int(seconds * ENCODINGS[self.kind].clock) * clock


def call_of(kind, decoders, **options):
    waits = ENCODINGS[kind].stateful
    return intake(encodings={kind: ENCODINGS[kind]}, decoders=decoders if waits else None, **options)


def everything(call, now):
    """What a reader may have of the newest call, when all has come and it has ended."""
    call.sweep(now + 0.1)
    event = started(call)[-1]
    call.end_all("that was all")
    for each in started(call):
        until(lambda each=each: each.bank.ended[each.slot], "the decoder")
    return event, heard(event.bank, event.slot)


def flaws(call):
    return [(event.name, event.words) for event in call.events if isinstance(event, FlawFound)]


def reasons(call):
    return [event.reason for event in call.events if isinstance(event, CallEnded)]


BIG = 2**31
STEPS = st.one_of(
    st.sampled_from([1, 10, 50, 255, 300, 1000, 20_000]).flatmap(lambda k: st.sampled_from([k, -k])),
    st.integers(-32_768, 32_767),
)
TIMES_S = st.one_of(
    st.sampled_from([0.004, 0.02, 0.5, 1.0, 2.9, 3.1, 600.0]).flatmap(lambda s: st.sampled_from([s, -s])),
    st.floats(-1000, 1000),
)


@pytest.mark.parametrize("kind", CODECS)
@examples(8, 20)
@example(what="both", number=-1, seconds=-0.03, at=1)
@example(what="both", number=198, seconds=4.0, at=1)
@given(
    what=st.sampled_from(["number", "time", "both"]),
    number=STEPS,
    seconds=TIMES_S,
    at=st.integers(1, 29),
)
def test_one_step_costs_nothing_or_is_counted(decoders, kind, what, number, seconds, at):
    """One step of any size and sign in number, timestamp or both, at any packet."""
    # So short a way back cannot be told from packets that were repeated or overtaken.
    repeated = number == -1 and abs(seconds + PACKET_S) < 0.01
    assume(what != "both" or not (repeated or (-8 < number < -1 and -0.1 < seconds < 0)))
    # All that may be lost at once fits, as it is read at the end.
    call = call_of(kind, decoders, slots=1, ring_s=70.0)
    sender, some = Sender(call, kind), payloads(kind, 40)
    sender.say(some[:at])
    if what != "time":
        sender.number += number
    if what != "number":
        sender.time += int(seconds * ENCODINGS[kind].clock)
    sender.say(some[at:])
    event, got = everything(call, sender.now)
    want = sound(kind, some)
    missing = np.isnan(got)
    lost = int(event.bank.skipped[event.slot])
    # No more is missing than the numbers say was lost: the rest is as it was sent, and in its order.
    assert np.count_nonzero(missing) <= lost
    np.testing.assert_array_equal(got[~missing], want)
    counts = call.counters()
    assert (counts["late"], counts["duplicate"], counts["jumped"]) == (0, 0, 0)
    assert counts["accepted"] == counts["received"] == 40
    if what == "time":
        assert lost == 0
    assert reasons(call) == ["that was all"]


@pytest.mark.parametrize("kind", CODECS)
@examples(4, 8)
@given(pause=st.floats(0.3, 9.0), comfort=st.booleans(), ticks=st.integers(0, 32))
def test_announced_silence_is_silence_and_nothing_is_lost(decoders, kind, pause, comfort, ticks):
    call = call_of(kind, decoders, ring_s=12.0)
    sender, some = Sender(call, kind), payloads(kind, 40)
    rng = np.random.default_rng(ticks)
    sender.jitter = iter(lambda: int(rng.integers(-ticks, ticks + 1)), None)
    sender.say(some[:20])
    if comfort:
        feed(call, [(packet(sender.number, sender.time, b"\x40", kind=13), HERE)], sender.now)
        sender.number += 1
    sender.pause(pause)
    sender.say(some[20:])
    event, got = everything(call, sender.now)
    voiced = ~np.isnan(got)
    np.testing.assert_array_equal(got[voiced], sound(kind, some))
    rate = event.bank.rate
    half = len(got[voiced]) // 2
    silence = len(got) - 2 * half
    assert abs(silence - pause * rate) <= 0.02 * rate + 64 * rate / ENCODINGS[kind].clock
    assert voiced[:half].all()
    assert voiced[-half:].all()
    assert (event.bank.silence_from[event.slot], event.bank.silence_to[event.slot]) == (half, half + silence)
    assert event.bank.skipped[event.slot] == 0
    assert call.counters()["lost_packets"] == 0
    assert not flaws(call)


@pytest.mark.parametrize("kind", CODECS)
@examples(6, 12)
@given(
    most_ms=st.floats(0.1, 20.0),
    late_ms=st.floats(0.0, 60.0),
    seed=st.integers(0, 2**32 - 1),
    batch=st.integers(1, 4),
)
def test_timestamps_a_few_ms_off_are_contiguous_audio(decoders, kind, most_ms, late_ms, seed, batch):
    """Timestamps are off by up to `most_ms` either way; packets arrive by `batch`, up to `late_ms` late."""
    call = call_of(kind, decoders)
    some = payloads(kind, 160)
    rng = np.random.default_rng(seed)
    most = round(most_ms * ENCODINGS[kind].clock / 1000)
    off = rng.integers(-most, most + 1, 160)
    ticks = int(ENCODINGS[kind].clock * PACKET_S)
    now = 10.0
    for at in range(0, 160, batch):
        made = [
            packet(k, k * ticks + int(off[k]), some[k], kind=kind) for k in range(at, at + batch)[: 160 - at]
        ]
        now = max(now, 10.0 + at * PACKET_S + rng.uniform(0, late_ms) / 1000)
        feed(call, [(one, HERE) for one in made], now)
        call.sweep(now)
    event, got = everything(call, now)
    np.testing.assert_array_equal(got, sound(kind, some))
    assert event.bank.skipped[event.slot] == 0
    assert not flaws(call)
    assert call.counters()["restarts"] == 0


@pytest.mark.parametrize("kind", [0, 96, 98])
@examples(10, 25)
@given(
    most_ms=st.floats(0.1, 20.0),
    loss=st.floats(0.0, 0.3),
    swaps=st.floats(0.0, 0.3),
    seed=st.integers(0, 2**32 - 1),
)
def test_loss_and_reordering_under_timestamps_a_few_ms_off(kind, most_ms, loss, swaps, seed):
    """Where all packets are alike their numbers tell where they belong."""
    call = call_of(kind, None)
    some, rng = payloads(kind, 160), np.random.default_rng(seed)
    most = round(most_ms * ENCODINGS[kind].clock / 1000)
    off = rng.integers(-most, most + 1, 160)
    off[:8] = [most, -most] * 4  # its clock is known to be unsteady when the first packet is missing
    ticks = int(ENCODINGS[kind].clock * PACKET_S)
    gone = set((8 + np.flatnonzero(rng.random(148) < loss)).tolist())
    order = [k for k in range(160) if k not in gone]
    for at in range(8, len(order) - 4):
        if rng.random() < swaps:
            order[at], order[at + 1] = order[at + 1], order[at]
    now = 10.0
    for k in order:
        feed(call, [(packet(k, k * ticks + int(off[k]), some[k], kind=kind), HERE)], now)
        call.sweep(now)
        now += PACKET_S
    event, got = everything(call, now)
    n = len(sound(kind, some[:1]))
    want = sound(kind, some)
    counts = call.counters()
    assert (counts["duplicate"], counts["jumped"], counts["restarts"]) == (0, 0, 0)
    late = counts["late"]
    missing = np.isnan(got)
    assert len(got) == len(want)
    np.testing.assert_array_equal(got[~missing], want[~missing])
    assert missing.sum() == event.bank.skipped[event.slot] == (len(gone) + late) * n


WRONG = {
    "in milliseconds": lambda clock: 20,
    "at 16 kHz": lambda clock: 2 * int(clock * PACKET_S),
    "half": lambda clock: int(clock * PACKET_S) // 2,
    "constant": lambda clock: 0,
}


@pytest.mark.parametrize("kind", CODECS)
@pytest.mark.parametrize("how", WRONG)
@pytest.mark.parametrize("batch", [1, 3])
def test_a_clock_at_a_wrong_rate_is_said_and_mended(decoders, kind, how, batch):
    call = call_of(kind, decoders)
    some = payloads(kind, 120)
    ticks = WRONG[how](ENCODINGS[kind].clock)
    now, gone = 10.0, {60, 61, 90}
    for at in range(0, 120, batch):
        made = [packet(k, k * ticks, some[k], kind=kind) for k in range(at, at + batch) if k not in gone]
        feed(call, [(one, HERE) for one in made], now)
        call.sweep(now)
        now += batch * PACKET_S
    event, got = everything(call, now)
    n = int(event.bank.rate * PACKET_S)
    missing = np.isnan(got).reshape(-1, n)
    assert missing.all(1).nonzero()[0].tolist() == sorted(gone)
    assert missing.any(1).sum() == len(gone)
    if not ENCODINGS[kind].stateful:
        want = sound(kind, some)
        np.testing.assert_array_equal(got[~missing.reshape(-1)], want[~missing.reshape(-1)])
    assert event.bank.skipped[event.slot] == len(gone) * n
    ((name, words),) = flaws(call)
    assert name == "clock"
    assert "timestamps" in words


@pytest.mark.parametrize("kind", CODECS)
@pytest.mark.parametrize("late", [3, 4, 5])
def test_a_clock_that_is_twice_too_fast_inserts_nothing_before_a_late_packet(decoders, kind, late):
    """A packet that is late by its wrong clock's error looks like a pause."""
    call = call_of(kind, decoders)
    some, ticks = payloads(kind, 60), WRONG["at 16 kHz"](ENCODINGS[kind].clock)
    for k, payload in enumerate(some):
        now = 10.0 + k * PACKET_S + (PACKET_S if k == late else 0.0)
        feed(call, [(packet(k, k * ticks, payload, kind=kind), HERE)], now)
        call.sweep(now)
    event, got = everything(call, now)
    np.testing.assert_array_equal(got, sound(kind, some))
    assert event.bank.skipped[event.slot] == 0
    assert [name for name, _ in flaws(call)] == ["clock"]


@pytest.mark.parametrize("kind", CODECS)
def test_the_next_caller_under_the_same_ssrc_and_port_is_another_call(decoders, kind):
    call = call_of(kind, decoders)
    sender, some = Sender(call, kind), payloads(kind, 60)
    sender.say(some[:30])
    sender.pause(4.0)
    sender.number, sender.time = 50_000, 900_000
    sender.say(some[30:])
    first, second = started(call)
    (reason,) = reasons(call)
    assert "another call" in reason
    assert first.bank.skipped[first.slot] == second.bank.skipped[second.slot] == 0
    _, got = everything(call, sender.now)
    np.testing.assert_array_equal(got, sound(kind, some[30:]))


def test_after_a_goodbye_the_next_caller_need_not_wait(decoders):
    call = call_of(0, decoders)
    sender, some = Sender(call, 0), payloads(0, 60)
    sender.say(some[:30])
    feed(call, [(bye(sender.ssrc), HERE)], sender.now)
    sender.number, sender.time = 9_000, 77_777_777
    sender.say(some[30:])
    assert len(started(call)) == 2
    _, got = everything(call, sender.now)
    np.testing.assert_array_equal(got, sound(0, some[30:]))


@pytest.mark.parametrize("pause", [0.0, 0.5, 1.9])
def test_a_new_clock_without_seconds_of_silence_is_the_same_call(decoders, pause):
    call = call_of(0, decoders)
    sender, some = Sender(call, 0), payloads(0, 60)
    sender.say(some[:30])
    sender.now += pause
    sender.number, sender.time = 9_000, 77_777_777
    sender.say(some[30:])
    event, got = everything(call, sender.now)
    assert len(started(call)) == 1
    voiced = ~np.isnan(got)
    np.testing.assert_array_equal(got[voiced], sound(0, some))
    assert event.bank.skipped[event.slot] == 0
    assert abs((~voiced).sum() - pause * 8000) <= 160


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_two_talks_under_one_key_are_one_talk_and_a_flaw(decoders, batch):
    call = call_of(0, decoders)
    a, b = Sender(call, 0), Sender(call, 0)
    b.number, b.time = 40_000, 3_000_000_000
    one, other = payloads(0, 400), payloads(0, 400, seed=1)
    for at in range(0, 400, batch):
        made = []
        for sender, some in ((a, one), (b, other)):
            numbers = range(at, at + batch)
            made += [(packet(sender.number + k, sender.time + 160 * k, some[k]), HERE) for k in numbers]
        feed(call, made, a.now)
        call.sweep(a.now)
        a.now += batch * PACKET_S
    (event,) = started(call)
    assert call.counters()["jumped"] > 350
    assert [name for name, words in flaws(call) if words] == ["collision"]
    more = payloads(0, 400, seed=2)
    a.number, a.time = a.number + 400, a.time + 160 * 400
    a.say(more)
    assert flaws(call)[-1] == ("collision", "")
    _, got = everything(call, a.now)
    np.testing.assert_array_equal(got[-30_000:], sound(0, more)[-30_000:])
    assert event.bank.skipped[event.slot] == 0


def test_a_sender_that_repeats_what_it_sent_is_not_heard_twice(decoders):
    call = call_of(0, decoders)
    some = payloads(0, 50)
    made = [(packet(k, 160 * k, some[k]), HERE) for k in range(50)]
    now = 1.0
    for k in range(50):
        feed(call, [made[k], *made[max(k - 9, 0) : k]], now)
        now += PACKET_S
    _, got = everything(call, now)
    np.testing.assert_array_equal(got, sound(0, some))
    assert call.counters()["duplicate"] == sum(min(k, 9) for k in range(50))
