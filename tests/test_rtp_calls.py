"""Who a call is, over real sockets: other codecs, other SSRCs, types that cannot be heard; and what is said of it."""

import logging
import time

import numpy as np
import pytest
from patience import until
from rtp_peer import Talker, heard, listening, packet, sending

from streamcab.rtp.codec import TABLES
from streamcab.rtp.decoder import available
from streamcab.rtp.lifecycle import STOPPED_S

needs_av = pytest.mark.skipif(not available(), reason="PyAV is not here")


def tone(count, rate, start=0, pitch=440):
    """int16 samples of a tone that goes on from `start`."""
    return (8000 * np.sin(2 * np.pi * pitch * np.arange(start, start + count) / rate)).astype(np.int16)


def mu_law(samples):
    order = np.argsort(TABLES["PCMU"], kind="stable")
    return order[np.minimum(np.searchsorted(TABLES["PCMU"][order], samples), 255)].astype(np.uint8).tobytes()


def g722(seconds):
    import av

    encoder = av.CodecContext.create("g722", "w")
    encoder.sample_rate, encoder.layout, encoder.format = 16000, "mono", "s16"
    made = b""
    whole = tone(int(seconds * 16000), 16000)
    for at in range(0, len(whole), 320):
        frame = av.AudioFrame.from_ndarray(whole[None, at : at + 320], "s16", "mono")
        frame.sample_rate = 16000
        made += b"".join(bytes(p) for p in encoder.encode(frame))
    made += b"".join(bytes(p) for p in encoder.encode(None))
    return [made[at : at + 160] for at in range(0, int(seconds * 8000), 160)]


def say(sock, port, talker, payloads, ticks=160):
    for payload in payloads:
        sock.sendto(talker.say(payload, ticks)[0], ("127.0.0.1", port))


CHANGES = {
    "L16/16000": (96, lambda: [tone(320, 16000, k * 320).astype(">i2").tobytes() for k in range(50)], 320),
    "L16/44100": (11, lambda: [tone(882, 44100, k * 882).astype(">i2").tobytes() for k in range(50)], 882),
    "G.722": (9, lambda: g722(1.0), 160),
}


@needs_av
@pytest.mark.parametrize("codec", CHANGES)
def test_a_call_goes_on_in_another_codec(codec):
    kind, make, ticks = CHANGES[codec]
    with listening(payload_types={96: "L16/16000"}) as listener, sending() as sock:
        talker = Talker(time=0, sequence=0)
        before = [mu_law(tone(160, 8000, k * 160)) for k in range(50)]
        say(sock, listener.port, talker, before)
        (line,) = listener.calls(1)
        assert "PCMU 8000 Hz" in line.description
        talker.kind = kind
        say(sock, listener.port, talker, make(), ticks)
        until(lambda: "PCMU" not in line.description, "the new codec to be told")
        talker.kind = 0
        say(sock, listener.port, talker, before)
        until(lambda: line.bank.written[line.row] >= 3 * 8000, "all of it")
        until(lambda: "PCMU" in line.description, "the old codec to be told")
        listener.source.streams()
        assert len(listener.calls(1)) == 1
        got = heard(line.bank, line.row)
        assert line.bank.rate == 8000
        assert len(got) == 3 * 8000
        assert not np.isnan(got).any()
        np.testing.assert_array_equal(got[:8000], got[-8000:])
        # The same tone, as loud, in the middle; codecs and filters may shift it.
        middle = got[9000:15_000]
        assert middle.std() == pytest.approx(got[:8000].std(), rel=0.05)
        spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
        assert spectrum.argmax() * 8000 / len(middle) == pytest.approx(440, abs=3)
        assert line.bank.skipped[line.row] == 0


@pytest.mark.parametrize("same_call", ["never", "ssrc"])
def test_another_ssrc_of_the_same_port_is_the_same_call_if_that_is_asked(same_call):
    first, second = [bytes([k]) * 160 for k in range(20)], [bytes([k + 100]) * 160 for k in range(20)]
    with listening(same_call=same_call) as listener, sending() as sock:
        say(sock, listener.port, Talker(ssrc=1), first)
        (line,) = listener.calls(1)
        until(lambda: line.bank.written[line.row] == 20 * 160, "the first of it")
        until(lambda: time.monotonic() - line.bank.stamp[line.row] > 2 * STOPPED_S, "that it has stopped")
        say(sock, listener.port, Talker(ssrc=2, sequence=9, time=77), second)
        if same_call == "never":
            assert len(listener.calls(2)) == 2
            assert listener.source.counters()["ssrc_changes"] == 0
            return
        listener.counted("ssrc_changes", 1)
        until(lambda: line.bank.written[line.row] >= 40 * 160, "the rest of it")
        got = heard(line.bank, line.row)
        want = TABLES["PCMU"][np.frombuffer(b"".join(first + second), np.uint8)] / np.float32(32768)
        np.testing.assert_array_equal(got[~np.isnan(got)], want)
        assert "SSRC 00000002 now" in line.description
        assert line.bank.skipped[line.row] == 0
        assert not listener.source.streams()


def test_two_that_speak_at_once_from_one_port_are_two_calls_whatever_is_asked():
    with listening(same_call="ssrc") as listener, sending() as sock:
        one, other = Talker(ssrc=1), Talker(ssrc=2)
        for k in range(40):
            say(sock, listener.port, one, [bytes([k]) * 160])
            say(sock, listener.port, other, [bytes([k]) * 160])
        assert len(listener.calls(2)) == 2
        assert listener.source.counters()["ssrc_changes"] == 0


@pytest.mark.parametrize(
    ("kind", "size", "ticks", "words"),
    [
        (18, 20, 160, "G.729 (18) cannot be decoded here"),
        (111, 640, 320, "--pt 111=L16/16000"),
        (111, 60, 960, "--pt 111=opus/48000/2"),
        (119, 33, 160, "--pt 119=NAME/CLOCK"),
        (118, 60, 960, "--pt 118=opus/48000/2"),
    ],
)
def test_what_cannot_be_heard_is_said_once_with_what_to_do(caplog, kind, size, ticks, words):
    with caplog.at_level(logging.WARNING), listening() as listener, sending() as sock:
        talker = Talker(kind=kind)
        say(sock, listener.port, talker, [bytes(size)] * 30, ticks)
        listener.counted("unknown_type", 30)
        until(lambda: listener.source.in_words, "the source to speak")
        assert words in listener.source.in_words
        assert "127.0.0.1" not in listener.source.in_words
        say(sock, listener.port, talker, [bytes(size)] * 30, ticks)
        listener.counted("unknown_type", 60)
        lines = [r.getMessage() for r in caplog.records if "cannot be decoded" in r.getMessage()]
        assert len(lines) == 1
        assert words in lines[0]
        assert f"127.0.0.1:{sock.getsockname()[1]}" in lines[0]
        until(lambda: not listener.source.in_words, "it to be over")


def test_a_customary_type_is_heard_where_its_packets_fit_it():
    payloads = [tone(320, 16000, 320 * k).astype(">i2").tobytes() for k in range(20)]
    with listening() as listener, sending() as sock:
        say(sock, listener.port, Talker(kind=118), payloads, 320)
        (line,) = listener.calls(1)
        assert "L16 16000 Hz" in line.description
        until(lambda: line.bank.written[line.row] == 20 * 320, "all of it")
        want = tone(20 * 320, 16000) / np.float32(32768)
        assert np.abs(heard(line.bank, line.row) - want).max() < 2e-4


def test_a_customary_type_whose_timestamps_do_not_fit_is_unknown():
    with listening() as listener, sending() as sock:
        say(sock, listener.port, Talker(kind=118), [bytes(640)] * 30, 960)
        listener.counted("unknown_type", 30)
        assert listener.source.counters()["accepted"] == 0
        assert not listener.source.streams()


def test_a_wrong_clock_is_a_flaw_in_words(caplog):
    with caplog.at_level(logging.INFO), listening() as listener, sending() as sock:
        say(sock, listener.port, Talker(), [bytes([k]) * 160 for k in range(40)], 20)
        (line,) = listener.calls(1)
        until(lambda: line.flaws, "the flaw")
        assert list(line.flaws) == ["clock"]
        assert "20 a packet of 160, in milliseconds: corrected" in line.in_words
        until(lambda: line.bank.written[line.row] == 40 * 160, "all of it")
        assert not np.isnan(heard(line.bank, line.row)).any()
        until(
            lambda: any("clock: its timestamps" in r.getMessage() for r in caplog.records),
            "a line of the log",
        )


def test_one_stray_type_says_nothing(caplog):
    with caplog.at_level(logging.WARNING), listening() as listener, sending() as sock:
        sock.sendto(packet(1, 1, bytes(20), kind=18), ("127.0.0.1", listener.port))
        say(sock, listener.port, Talker(), [bytes(160)] * 30)
        listener.counted("accepted", 30)
        listener.counted("unknown_type", 1)
        assert not [r for r in caplog.records if "cannot be decoded" in r.getMessage()]
