"""The header parser against a plain one that reads byte by byte, on good, random and mutated datagrams."""

import random
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rtp_peer import HERE, Talker, feed, heard, intake, packet, sdes, started

from streamcab.rtp.batch import SLOT, Batch
from streamcab.rtp.codec import TABLES
from streamcab.rtp.packet import Fate, parse


def plain(data: bytes):
    """(fate, start, size) of one datagram, as RFC 3550 section 5.1 says it."""
    if len(data) > SLOT:
        return Fate.TRUNCATED, 0, 0
    if len(data) >= 8 and data[0] >> 6 == 2 and 192 <= data[1] <= 223:
        return Fate.RTCP, 0, 0
    if len(data) < 12 or data[0] >> 6 != 2:
        return Fate.MALFORMED, 0, 0
    start = 12 + 4 * (data[0] & 15)
    if data[0] & 0x10:
        if start + 4 > len(data):
            return Fate.MALFORMED, 0, 0
        start += 4 + 4 * int.from_bytes(data[start + 2 : start + 4])
    size = len(data) - start
    if size < 0:
        return Fate.MALFORMED, 0, 0
    if data[0] & 0x20:
        pad = data[-1]
        if pad == 0 or pad > size:
            return Fate.MALFORMED, 0, 0
        size -= pad
    return (Fate.ACCEPTED if size else Fate.EMPTY), start, size


def check(datagrams):
    batch = Batch.of([(data, HERE) for data in datagrams])
    headers = parse(batch.data, batch.length, batch.truncated)
    for k, data in enumerate(datagrams):
        fate, start, size = plain(data)
        assert headers.fate[k] == fate, data.hex()
        if fate in (Fate.ACCEPTED, Fate.EMPTY):
            assert (headers.start[k], headers.size[k]) == (start, size), data.hex()
            fields = (headers.kind[k], headers.sequence[k], headers.time[k], headers.ssrc[k])
            assert fields == (data[1] & 127, *struct.unpack(">HII", data[2:12]))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=90), min_size=1, max_size=20))
def test_random_bytes(datagrams):
    check(datagrams)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.builds(
            lambda flags, kind, rest: bytes([0x80 | flags, kind]) + rest,
            st.integers(0, 63),
            st.integers(0, 255),
            st.binary(min_size=4, max_size=100),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_random_bytes_of_the_right_version(datagrams):
    check(datagrams)


def test_contributors_extension_and_padding():
    body = bytes(range(100))
    head = struct.pack(">HII", 7, 8, 9)
    contributors = bytes([0x83, 0]) + head + bytes(12) + body
    extension = bytes([0x90, 0]) + head + struct.pack(">HH", 0xBEDE, 2) + bytes(8) + body
    padding = bytes([0xA0, 0]) + head + body + bytes([0, 0, 0, 4])
    check([contributors, extension, padding, bytes([0xB1, 0]) + head + bytes(4) + extension[12:-1] + b"\1"])


def test_lies_about_lengths_are_malformed():
    head = struct.pack(">HII", 7, 8, 9)
    check(
        [
            bytes([0x8F, 0]) + head + bytes(59),
            bytes([0x90, 0]) + head + struct.pack(">HH", 0, 65535) + bytes(40),
            bytes([0x90, 0]) + head + bytes(3),
            bytes([0xA0, 0]) + head + bytes([1, 2, 200]),
            bytes([0xA0, 0]) + head + bytes([1, 2, 0]),
            bytes([0xA0, 0]) + head,
            bytes([0x80, 0]) + head,
            b"",
            bytes(SLOT + 1),
        ]
    )


def datagrams(random: random.Random, count: int):
    """Random bytes, and good packets with bits, bytes and lengths changed; never of the good calls' SSRCs."""
    rng = np.random.default_rng(random.randrange(2**32))
    made = []
    for _ in range(count):
        pick = random.random()
        if pick < 0.3:
            made.append(rng.bytes(random.randrange(0, 300)))
            continue
        ssrc = random.getrandbits(32) | 0x80000000
        if pick < 0.4:
            data = bytearray(sdes(ssrc, rng.bytes(random.randrange(0, 40))))
        else:
            kind = random.choice([0, 8, 9, 10, 11, 13, 96, 97, 101, random.randrange(128)])
            data = bytearray(
                packet(random.getrandbits(16), random.getrandbits(32), rng.bytes(160), ssrc=ssrc, kind=kind)
            )
        for _ in range(random.randrange(0, 4)):
            data[random.choice([0, 1, random.randrange(len(data))])] = random.randrange(256)
        if random.random() < 0.3:
            del data[random.randrange(len(data)) :]
        if random.random() < 0.02:
            data += bytes(SLOT)
        made.append(bytes(data))
    return made


def fuzz(count: int, batch: int = 1000):
    """`count` bad datagrams among 50 good calls, from their very addresses: every good sample must arrive."""
    random_ = random.Random(20260729)
    call = intake(slots=200, lookback_s=0.06)
    talkers = [Talker(ssrc=k + 1, source=("127.0.0.1", 4000 + k)) for k in range(50)]
    rng = np.random.default_rng(1)
    now, spoken = 10.0, []
    for _ in range(0, count, batch):
        bad = [(data, random_.choice(talkers).source) for data in datagrams(random_, batch)]
        good = [talker.say(rng.bytes(160)) for talker in talkers]
        spoken = [*spoken[-20:], good]
        mixed = bad + good
        random_.shuffle(mixed)
        feed(call, mixed, now)
        call.sweep(now)
        now += 0.02
    call.sweep(now + 0.06)
    good = [event for event in started(call) if event.ssrc <= 50]
    assert len(good) == 50
    for event in good:
        assert (
            np.isnan(heard(event.bank, event.slot, int(event.bank.oldest(np.array([event.slot]))[0]))).sum()
            == 0
        )
        assert event.bank.skipped[event.slot] == 0
    counts = call.counters()
    assert counts["received"] == count + 50 * (count // batch)
    assert sum(counts[fate.name.lower()] for fate in Fate) == counts["received"]
    assert counts["accepted"] >= 50 * (count // batch)
    # And bit for bit: the newest packets of each call.
    for event in good:
        tail = b"".join(batch[event.ssrc - 1][0][12:] for batch in spoken)
        got = heard(event.bank, event.slot)[-len(tail) :]
        np.testing.assert_array_equal(got, TABLES["PCMU"][np.frombuffer(tail, np.uint8)] / np.float32(32768))


def test_a_hundred_thousand_bad_datagrams_among_good_calls():
    fuzz(100_000)


@pytest.mark.slow
def test_a_million_bad_datagrams_among_good_calls():
    fuzz(1_000_000)
