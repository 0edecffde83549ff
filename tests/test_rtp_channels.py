"""`--channel each` by RTP: every channel of a call is a stream, and no packet is counted twice."""

import numpy as np
import pytest
from patience import until
from rtp_peer import Talker, bye, heard, listening, sending
from signals import tone

from streamcab.rtp.decoder import available

needs_av = pytest.mark.skipif(not available(), reason="PyAV is not here")
RATE, SECONDS = 8000, 2
LEFT, RIGHT = tone(440, SECONDS, RATE), tone(1000, SECONDS, RATE)


def l16(*channels):
    """Packets of 20 ms."""
    frames = np.round(np.stack(channels, 1) * 32767).astype(">i2")
    return [frames[at : at + 160].tobytes() for at in range(0, len(frames), 160)]


def opus(left, right):
    import av

    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format = 48000, "stereo", "s16"
    encoder.bit_rate = 64_000
    made = []
    frames = np.round(np.stack([left, right], 1) * 32767).astype(np.int16)
    for at in range(0, len(frames), 960):
        frame = av.AudioFrame.from_ndarray(frames[at : at + 960].reshape(1, -1), "s16", "stereo")
        frame.sample_rate = 48000
        made += [bytes(p) for p in encoder.encode(frame)]
    return made


def say(listener, sock, talker, payloads, ticks=160):
    for payload in payloads:
        sock.sendto(talker.say(payload, ticks)[0], ("127.0.0.1", listener.port))


def pitch(samples, rate):
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return spectrum.argmax() * rate / len(samples)


TYPES = {97: "L16/8000/2", 98: "opus/48000/2"}


def test_each_channel_of_l16_is_a_stream_with_its_samples():
    with listening(payload_types=TYPES, channel="each") as listener, sending() as sock:
        say(listener, sock, Talker(kind=97), l16(LEFT, RIGHT))
        lines = sorted(listener.calls(2), key=lambda line: line.name)
        assert [line.name[-2:] for line in lines] == ["-1", "-2"]
        assert lines[0].name[:-2] == lines[1].name[:-2]
        for number, (line, sent) in enumerate(zip(lines, (LEFT, RIGHT), strict=True), 1):
            until(lambda line=line: line.bank.written[line.row] == len(LEFT), "all of it")
            assert np.abs(heard(line.bank, line.row) - sent).max() < 1e-4
            assert f"channel: each {number}" in line.description
        counts = listener.source.counters()
        assert counts["received"] == counts["accepted"] == len(LEFT) // 160
        assert counts["duplicate"] == counts["lost_packets"] == 0
        sock.sendto(bye(0x1234), ("127.0.0.1", listener.port))
        until(lambda: all(line.state == "ended" for line in lines), "both to end")


@needs_av
def test_each_channel_of_opus_is_a_stream():
    left, right = tone(440, SECONDS, 48000), tone(1000, SECONDS, 48000)
    with listening(payload_types=TYPES, channel="each") as listener, sending() as sock:
        say(listener, sock, Talker(kind=98), opus(left, right), 960)
        lines = sorted(listener.calls(2), key=lambda line: line.name)
        for line, hz in zip(lines, (440, 1000), strict=True):
            until(lambda line=line: line.bank.written[line.row] >= 1.8 * 48000, "all of it")
            got = heard(line.bank, line.row)[4800:]
            assert pitch(got, 48000) == pytest.approx(hz, abs=2)
            assert np.corrcoef(got[4800:], np.roll(got, 48000 // hz)[4800:])[0, 1] > 0.9


@needs_av
@pytest.mark.parametrize(("channel", "hz"), [("left", 440), ("2", 1000)])
def test_one_channel_of_opus_is_picked(channel, hz):
    left, right = tone(440, 1, 48000), tone(1000, 1, 48000)
    with listening(payload_types=TYPES, channel=channel) as listener, sending() as sock:
        say(listener, sock, Talker(kind=98), opus(left, right), 960)
        (line,) = listener.calls(1)
        until(lambda: line.bank.written[line.row] >= 0.8 * 48000, "all of it")
        assert pitch(heard(line.bank, line.row)[4800:], 48000) == pytest.approx(hz, abs=2)


def test_calls_of_one_channel_are_as_they_were():
    with listening(payload_types=TYPES, channel="each") as listener, sending() as sock:
        say(listener, sock, Talker(), [bytes([k]) * 160 for k in range(40)])
        (line,) = listener.calls(1)
        until(lambda: line.bank.written[line.row] == 40 * 160, "all of it")
        assert "each" not in line.description
        assert listener.source.counters()["accepted"] == 40


@needs_av
def test_a_call_that_goes_on_with_one_channel_goes_on_as_both():
    with listening(payload_types=TYPES, channel="each") as listener, sending() as sock:
        talker = Talker(kind=97)
        say(listener, sock, talker, l16(LEFT, RIGHT))
        listener.calls(2)
        talker.kind = 13  # comfort noise, of all channels
        say(listener, sock, talker, [b"\x40"], 0)
        talker.kind = 0
        say(listener, sock, talker, [bytes([k]) * 160 for k in range(50)])
        for line in listener.calls(2):
            until(lambda line=line: line.bank.written[line.row] >= len(LEFT) + 49 * 160, "both to go on")
            assert line.bank.skipped[line.row] == 0
        assert not listener.source.streams()


def test_a_sender_whose_numbers_leap_does_so_on_every_channel():
    with listening(payload_types=TYPES, channel="each") as listener, sending() as sock:
        talker, some = Talker(kind=97), l16(LEFT, RIGHT)
        say(listener, sock, talker, some[:50])
        talker.sequence, talker.time = 9_000, 77_777_777
        say(listener, sock, talker, some[50:])
        for line, sent in zip(sorted(listener.calls(2), key=lambda c: c.name), (LEFT, RIGHT), strict=True):
            until(lambda line=line: line.bank.written[line.row] >= len(LEFT), "all of it")
            got = heard(line.bank, line.row)
            assert np.abs(got[~np.isnan(got)] - sent).max() < 1e-4
        counts = listener.source.counters()
        assert counts["received"] == counts["accepted"] == len(some)
