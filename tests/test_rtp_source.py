"""The source on real sockets: both families, multicast, names, refusals, closing. Loopback only."""

import contextlib
import logging
import select
import socket
import struct
import sys
import time

import numpy as np
import pytest
from patience import until
from ports import free_port
from rtp_peer import Talker, bye, heard, listening, packet, sdes, sending

from streamcab.errors import ConfigError, SourceError
from streamcab.message import valid_name
from streamcab.rtp import udp
from streamcab.rtp.batch import SLOT
from streamcab.rtp.codec import TABLES
from streamcab.rtp.receive import BatchReceiver, PlainReceiver
from streamcab.source.rtp import RtpSource


@pytest.fixture(params=["batches", "one by one"])
def _both_receivers(request, monkeypatch):
    if request.param == "one by one":
        monkeypatch.setattr("streamcab.source.rtp.receiver", PlainReceiver)
    elif sys.platform != "linux":
        pytest.skip("recvmmsg is Linux's")


def speak(sock, to, talker, count=10, seed=0):
    """Send packets; returns the samples they hold."""
    codes = np.random.default_rng(seed).integers(0, 256, (count, 160), np.uint8)
    for payload in codes:
        sock.sendto(talker.say(payload.tobytes())[0], to)
    return TABLES["PCMU"][codes.reshape(-1)] / np.float32(32768)


@pytest.mark.usefixtures("_both_receivers")
@pytest.mark.parametrize(("bind", "host"), [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1")])
def test_a_call_is_heard_and_ends(bind, host):
    with listening(bind) as listener, sending(host) as sock:
        talker = Talker(ssrc=0xBEEF)
        said = speak(sock, (host, listener.port), talker)
        (line,) = listener.calls(1)
        assert line.name == f"rtp-{host}-{sock.getsockname()[1]}-0000beef"
        assert valid_name(line.name)
        assert line.labels["codec"] == "PCMU"
        assert line.bank.rate == 8000
        until(lambda: line.bank.written[line.row] == len(said), "silence to give the last samples")
        np.testing.assert_array_equal(heard(line.bank, line.row), said)
        assert abs(line.bank.stamp[line.row] - time.monotonic()) < 20
        sock.sendto(bye(0xBEEF), (host, listener.port + 1))
        until(lambda: line.bank.ended[line.row], "the end")
        assert line.detail == "the sender said goodbye"
        assert listener.source.counters()["receive_errors"] == 0


def test_goodbye_on_the_same_port():
    with listening() as listener, sending() as sock:
        talker = Talker()
        speak(sock, ("127.0.0.1", listener.port), talker)
        (line,) = listener.calls(1)
        sock.sendto(bye(talker.ssrc), ("127.0.0.1", listener.port))
        until(lambda: line.bank.ended[line.row], "the end")


@pytest.mark.usefixtures("_both_receivers")
def test_several_addresses_at_once():
    with (
        listening("127.0.0.1:0", "[::1]:0", "127.0.0.1:0") as listener,
        sending() as four,
        sending("::1") as six,
    ):
        ports = [int(address.rpartition(":")[2]) for address in listener.source.addresses]
        speak(four, ("127.0.0.1", ports[0]), Talker(ssrc=1))
        speak(six, ("::1", ports[1]), Talker(ssrc=2))
        speak(four, ("127.0.0.1", ports[2]), Talker(ssrc=1))
        lines = listener.calls(3)
        where = {line.description.rpartition(" at ")[2] for line in lines}
        assert where == set(listener.source.addresses)
        assert len({line.name for line in lines}) == 3


def test_multicast_v4():
    with listening("239.255.77.77%lo:0") as listener, sending() as sock:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        said = speak(sock, ("239.255.77.77", listener.port), Talker())
        (line,) = listener.calls(1)
        until(lambda: line.bank.written[line.row] == len(said), "the samples")
        np.testing.assert_array_equal(heard(line.bank, line.row), said)


def carries_groups():
    """An interface that delivers IPv6 multicast on this machine; Linux's loopback does not."""
    group = "ff15::7777"
    for index, name in socket.if_nameindex():
        with (
            socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock,
            socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as receiver,
        ):
            try:
                receiver.bind((group, 0, 0, index))
                request = socket.inet_pton(socket.AF_INET6, group) + struct.pack("=I", index)
                receiver.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 0)
                sock.sendto(b"", (group, receiver.getsockname()[1], 0, index))
            except OSError:
                continue
            if select.select([receiver], [], [], 0.2)[0]:
                return index, name
    return pytest.skip("no interface here carries IPv6 multicast")


def test_multicast_v6():
    index, name = carries_groups()
    with (
        listening(f"[ff15::7777%{name}]:0") as listener,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock,
    ):
        # Not one hop: what is sent is heard on this machine and leaves it never.
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 0)
        talker = Talker()
        for _ in range(10):
            sock.sendto(talker.say(bytes(160))[0], ("ff15::7777", listener.port, 0, index))
        (line,) = listener.calls(1)
        assert line.description.endswith(f"at [ff15::7777%{name}]:{listener.port}")


def test_names_by_map_and_by_cname(tmp_path):
    table = tmp_path / "names.csv"
    table.write_text("address,port,ssrc,name\n127.0.0.1,*,2a,studio-b\n", encoding="utf-8")
    with listening(name_map=table) as listener, sending() as sock:
        to = ("127.0.0.1", listener.port)
        sock.sendto(sdes(7, b"carol@pbx"), ("127.0.0.1", listener.port + 1))
        listener.counted("rtcp", 1)
        speak(sock, to, Talker(ssrc=7))
        speak(sock, to, Talker(ssrc=0x2A))
        lines = listener.calls(2)
        assert {line.name for line in lines} == {"carol@pbx", "studio-b"}
        assert {line.labels.get("cname") for line in lines} == {"carol@pbx", None}


@pytest.mark.usefixtures("_both_receivers")
def test_what_is_too_long_is_refused():
    with listening() as listener, sending() as sock:
        to = ("127.0.0.1", listener.port)
        sock.sendto(packet(1, 1, bytes(4000)), to)
        sock.sendto(packet(1, 1, bytes(SLOT - 12)), to)
        listener.counted("received", 2)
        assert listener.source.counters()["truncated"] == 1
        assert listener.source.counters()["accepted"] == 1


def test_refusals_are_counted():
    with (
        listening(max_streams=1, allow=["127.0.0.1", "::1"]) as listener,
        sending() as sock,
        sending("127.0.0.2") as bad,
    ):
        to = ("127.0.0.1", listener.port)
        speak(sock, to, Talker(ssrc=1))
        listener.calls(1)
        speak(sock, to, Talker(ssrc=2))
        speak(bad, to, Talker(ssrc=3))
        listener.counted("refused_full", 10)
        listener.counted("not_allowed", 10)


def test_a_released_row_serves_the_next_call():
    with listening(max_streams=1, idle_s=0.5) as listener, sending() as sock:
        to = ("127.0.0.1", listener.port)
        for ssrc in (1, 2, 3):
            said = speak(sock, to, Talker(ssrc=ssrc), seed=ssrc)
            line = listener.calls(ssrc)[-1]
            until(lambda line=line: line.bank.ended[line.row], "idleness")
            assert "no packet for 0.5 s" in line.detail
            np.testing.assert_array_equal(heard(line.bank, line.row), said)
            listener.source.release(line)
            until(lambda: listener.source._intake.table.state[0] == 0, "the row to be free")


def test_a_call_that_the_daemon_refused_gives_its_row_back_when_it_ends():
    with listening(max_streams=1) as listener, sending() as sock:
        to = ("127.0.0.1", listener.port)
        talker = Talker(ssrc=1)
        speak(sock, to, talker)
        (line,) = listener.calls(1)
        listener.source.release(line)
        speak(sock, to, talker)
        listener.counted("accepted", 20)
        sock.sendto(bye(1), to)
        until(lambda: listener.source._intake.table.state[0] == 0, "the row to be free")
        speak(sock, to, Talker(ssrc=2))
        (_, second) = listener.calls(2)
        assert second.row == line.row
        assert listener.source.counters()["receive_errors"] == 0


def test_a_sender_that_starts_again_is_a_new_call():
    with listening() as listener, sending() as sock:
        to = ("127.0.0.1", listener.port)
        speak(sock, to, Talker(ssrc=1))
        listener.calls(1)
        again = Talker(ssrc=2)
        speak(sock, to, again)
        first, second = listener.calls(2)
        until(lambda: first.state == "stalled", "the old call to stall")  # until --idle it may go on
        assert not first.bank.ended[first.row]
        assert not second.bank.ended[second.row]


def test_a_taken_port_is_an_error_and_a_taken_rtcp_port_is_a_warning(caplog):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        port = free_port(2) + 1
        sock.bind(("127.0.0.1", port))
        with pytest.raises(SourceError, match=rf"127\.0\.0\.1:{port}.*another program"):
            RtpSource([f"127.0.0.1:{port}"]).start()
        with caplog.at_level(logging.WARNING), listening(f"127.0.0.1:{port - 1}") as listener:
            assert any("goodbyes" in warning for warning in listener.source.warnings)
    assert "goodbyes" in caplog.text


def test_a_short_buffer_is_said(monkeypatch):
    monkeypatch.setattr(
        udp, "_enlarge", lambda sock: sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    )
    with listening() as listener:
        assert any("sysctl -w net.core.rmem_max=" in warning for warning in listener.source.warnings)
        assert listener.source.counters()["receive_buffer_short"] == 1


@pytest.mark.skipif(sys.platform != "linux", reason="SO_MEMINFO is Linux's")
def test_kernel_drops_are_counted(monkeypatch):
    monkeypatch.setattr(
        udp, "_enlarge", lambda sock: sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    )
    sock = udp.listen(udp.Address.parse("127.0.0.1:0"))
    with sock, sending() as sender:
        for _ in range(200):
            sender.sendto(bytes(172), sock.getsockname())
        reader = BatchReceiver([sock])
        batch = reader.receive()
        assert batch is not None
        assert udp.kernel_drops(sock) == 200 - len(batch.length)


def test_close_ends_the_thread_and_every_call():
    source = RtpSource(["127.0.0.1:0"], max_streams=4)
    source.start()
    assert source.live
    assert not source.done
    with sending() as sock:
        speak(sock, ("127.0.0.1", int(source.addresses[0].rpartition(":")[2])), Talker())
        lines = []
        until(lambda: lines.extend(source.streams()) or lines, "a call")
    thread = source._thread
    source.close()
    assert not thread.is_alive(), "its thread was left behind"
    assert source.done
    assert lines[0].bank.ended[lines[0].row]
    assert source.streams() == []
    source.close()


def test_memory_of_a_stream_is_a_number():
    source = RtpSource(["127.0.0.1:0"])
    assert 64_000 < source.bytes_per_stream < 70_000


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({}, "no address"),
        ({"binds": ["x"]}, "not an address"),
        ({"binds": ["127.0.0.1:1"], "max_streams": 0}, "max_streams"),
        ({"binds": ["127.0.0.1:1"], "lookback_ms": -1}, "lookback_ms"),
        ({"binds": ["127.0.0.1:1"], "allow": ["x"]}, "not a network"),
        ({"binds": ["127.0.0.1:1"], "payload_types": {97: "mp3"}}, "no codec"),
        ({"binds": ["127.0.0.1:1"], "channel": "up"}, "no such channel"),
        ({"binds": ["127.0.0.1:1"], "name_map": "/nonexistent"}, "cannot read the name map"),
        ({"sdp": "/nonexistent"}, "cannot read the SDP file"),
    ],
)
def test_settings_that_cannot_be(options, complaint):
    with pytest.raises(ConfigError, match=complaint):
        RtpSource(**options)


def test_an_sdp_file_gives_formats_and_addresses(tmp_path):
    path = tmp_path / "session.sdp"
    path.write_text(
        "v=0\nc=IN IP4 127.0.0.1\nm=audio 0 RTP/AVP 96\na=rtpmap:96 L24/48000\n", encoding="utf-8"
    )
    with pytest.raises(ConfigError, match="no address"):
        RtpSource(sdp=path)
    with listening(sdp=path) as listener, sending() as sock:
        talker = Talker(kind=96)
        for _ in range(10):
            sock.sendto(talker.say(bytes(3 * 48), samples=48)[0], ("127.0.0.1", listener.port))
        (line,) = listener.calls(1)
        assert line.bank.rate == 48000


def test_without_av_a_stateful_codec_is_an_error_only_if_it_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(SourceError, match=r"pip install streamcab\[codecs\]"):
        RtpSource(["127.0.0.1:0"], payload_types={97: "opus/48000/2"}).start()
    with listening() as listener, sending() as sock:
        for k in range(10):
            sock.sendto(packet(k, 160 * k, bytes(160), kind=9), ("127.0.0.1", listener.port))
        listener.counted("no_decoder", 10)


def test_an_error_of_ours_costs_a_batch_and_is_said(monkeypatch, caplog):
    with listening() as listener, sending() as sock:
        real, calls = listener.source._intake.feed, []

        def broken(batch, now):
            calls.append(now)
            if len(calls) == 1:
                raise ZeroDivisionError("made up")
            real(batch, now)

        monkeypatch.setattr(listener.source._intake, "feed", broken)
        to = ("127.0.0.1", listener.port)
        with caplog.at_level(logging.ERROR):
            sock.sendto(b"x", to)
            until(lambda: calls, "the first batch")
            speak(sock, to, Talker())
            listener.calls(1)
        assert "made up" in caplog.text
        assert listener.source.counters()["receive_errors"] == 1


def test_calls_for_which_there_is_no_row_are_said_with_their_number_and_the_option(caplog, monkeypatch):
    monkeypatch.setattr("streamcab.source.calls.REFUSALS_S", 0.5)

    def warnings():
        return [r.getMessage() for r in caplog.records if "refused" in r.getMessage()]

    with listening(max_streams=2) as listener, contextlib.ExitStack() as stack:
        to = ("127.0.0.1", listener.port)
        for ssrc in (1, 2):
            speak(stack.enter_context(sending()), to, Talker(ssrc=ssrc))
        listener.calls(2)
        socks = [stack.enter_context(sending()) for _ in range(3)]
        for sock in socks:
            speak(sock, to, Talker(ssrc=7))  # three calls, by their ports
        until(lambda: listener.source.counters()["refused_full"] == 30, "the refusals")
        until(lambda: sum(int(w.split(" call")[0].rpartition(" ")[2]) for w in warnings()) == 3, "the words")
        before = len(warnings())
        speak(socks[0], to, Talker(ssrc=7), count=1)
        until(lambda: len(warnings()) > before, "the next warning")
        told = warnings()[-1]
    assert told.startswith("RTP: 1 call refused, 1 packet: all 2 streams are taken; raise --max-streams if")
    assert before <= 3


def test_everywhere_hears_both_families_and_calls_ipv4_by_its_name():
    with listening("[::]:0") as listener, sending() as four, sending("::1") as six:
        speak(four, ("127.0.0.1", listener.port), Talker(ssrc=4))
        speak(six, ("::1", listener.port), Talker(ssrc=6))
        names = sorted(line.name.rpartition("-")[0].rpartition("-")[0] for line in listener.calls(2))
        assert names == ["rtp-127.0.0.1", "rtp-::1"]
        four.sendto(bye(4), ("127.0.0.1", listener.port + 1))
        (line,) = [line for line in listener.lines if line.name.endswith("00000004")]
        until(lambda: line.bank.ended[line.row], "the call to end")


def test_everywhere_leaves_ipv4_to_who_asked_for_it():
    with listening("127.0.0.1:0") as one:
        both = RtpSource([f"127.0.0.1:{one.port}", f"[::]:{one.port}"])
        with pytest.raises(SourceError, match="cannot listen"):
            both.start()
    both = RtpSource([f"127.0.0.1:{one.port}", f"[::]:{one.port}"])
    both.start()
    both.close()
