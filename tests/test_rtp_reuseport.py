"""The kernel gives every call to one socket, and its RTCP to the same one's."""

import socket
import struct
from collections import Counter
from contextlib import ExitStack

import pytest
from ports import free_port

from streamcab.errors import ConfigError, SourceError
from streamcab.rtp.ports import Ports
from streamcab.rtp.reuseport import Shared, spread
from streamcab.rtp.udp import Address, listen

WORKERS = 4
PLACES = [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "127.0.0.1"), ("::", "::1")]


def rtp(ssrc: int) -> bytes:
    return struct.pack(">BBHII", 0x80, 0, 1, 160, ssrc) + bytes(160)


def sender_report(ssrc: int) -> bytes:
    return struct.pack(">BBHI", 0x80, 200, 6, ssrc) + bytes(20)


@pytest.fixture
def held():
    with ExitStack() as stack:
        yield stack


def open_at(held: ExitStack, address: str, **how) -> list[Ports]:
    found = spread([Address.parse(address)], WORKERS, **how)
    for ports in found:
        held.callback(ports.close)
    return found


def caller(held: ExitStack, to: str, port: int = 0) -> socket.socket:
    sock = held.enter_context(
        socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET, socket.SOCK_DGRAM)
    )
    sock.bind((to, port))
    return sock


def heard_by(ports: list[Ports], which: str) -> int:
    """The one worker that a datagram has reached."""
    there = []
    for k, each in enumerate(ports):
        for sock in getattr(each, which):
            try:
                sock.recv(2048)
            except BlockingIOError:
                continue
            there.append(k)
    assert len(there) == 1
    return there[0]


@pytest.mark.parametrize(("bound", "to"), PLACES)
def test_a_call_and_its_rtcp_from_any_port_reach_one_worker(held, bound, to):
    ports = open_at(held, f"[{bound}]:0" if ":" in bound else f"{bound}:0")
    port = ports[0].rtp[0].getsockname()[1]
    talk, report = caller(held, to), caller(held, to)
    share = Counter()
    for ssrc in range(0xCA110000, 0xCA110000 + 200):
        talk.sendto(rtp(ssrc), (to, port))
        worker = heard_by(ports, "rtp")
        share[worker] += 1
        report.sendto(sender_report(ssrc), (to, port + 1))
        assert heard_by(ports, "rtcp") == worker
        talk.sendto(sender_report(ssrc), (to, port))  # multiplexed
        assert heard_by(ports, "rtp") == worker
    assert len(share) == WORKERS
    assert max(share.values()) < 2 * 200 / WORKERS


@pytest.mark.parametrize(("bound", "to"), PLACES)
def test_by_port_a_call_may_change_its_ssrc(held, bound, to):
    ports = open_at(held, f"[{bound}]:0" if ":" in bound else f"{bound}:0", by_port=True)
    port = ports[0].rtp[0].getsockname()[1]
    workers = set()
    for k in range(24):
        pair = free_port(2)
        talk, report = caller(held, to, pair), caller(held, to, pair + 1)
        talk.sendto(rtp(k), (to, port))
        worker = heard_by(ports, "rtp")
        talk.sendto(rtp(1000 + k), (to, port))
        assert heard_by(ports, "rtp") == worker
        report.sendto(sender_report(5000 + k), (to, port + 1))
        assert heard_by(ports, "rtcp") == worker
        workers.add(worker)
    assert len(workers) > 1


def test_what_is_no_rtp_reaches_somebody(held):
    ports = open_at(held, "127.0.0.1:0")
    talk = caller(held, "127.0.0.1")
    for junk in (b"", b"x", bytes(7), bytes(2000)):
        talk.sendto(junk, ports[0].rtp[0].getsockname())
        heard_by(ports, "rtp")


def test_a_worker_that_is_started_again_keeps_its_calls_and_hears_nothing_old(held):
    ports = open_at(held, "127.0.0.1:0")
    to, talk = ports[0].rtp[0].getsockname(), caller(held, "127.0.0.1")
    workers = {}
    for ssrc in range(32):
        talk.sendto(rtp(ssrc), to)
        workers[ssrc] = heard_by(ports, "rtp")
    one = ports[2]
    again = Shared(
        [s.detach() for s in (x.dup() for x in one.rtp)],
        [s.detach() for s in (x.dup() for x in one.rtcp)],
        one.bound,
    )
    for ssrc in range(32):  # while nobody listens
        talk.sendto(rtp(ssrc), to)
    restarted = again.ports()
    held.callback(restarted.close)
    for each in (*ports[:2], restarted, ports[3]):
        each.empty()
    ports[2] = restarted
    for ssrc, worker in workers.items():
        talk.sendto(rtp(ssrc), to)
        assert heard_by(ports, "rtp") == worker
    assert restarted.bound == one.bound


def test_a_port_that_another_daemon_shares_is_taken(held):
    theirs = held.enter_context(listen(Address.parse("127.0.0.1:0"), shared=True))
    with pytest.raises(SourceError, match="another program has this port"):
        spread([Address("127.0.0.1", theirs.getsockname()[1])], 2)


def test_groups_are_refused():
    with pytest.raises(ConfigError, match=r"239\.69\.1\.1:5004 is a multicast group"):
        spread([Address.parse("239.69.1.1:5004")], 2)
