"""Sockets in pairs on the loopback: RTP where it was asked for, RTCP one port above where that can be."""

import socket

import pytest
from ports import free_port

from streamcab.errors import SourceError
from streamcab.rtp.ports import Ports
from streamcab.rtp.udp import BUFFER, Address


def ports(*texts):
    return Ports([Address.parse(text) for text in texts])


def number(sock):
    return int(sock.getsockname()[1])


def is_free(port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@pytest.fixture
def three():
    """The first of three free ports in a row."""
    return free_port(3)


def test_where_the_system_chooses_rtcp_is_the_neighbour():
    made = ports("127.0.0.1:0")
    (rtp,), (rtcp,) = made.rtp, made.rtcp
    assert number(rtcp) == number(rtp) + 1
    assert made.bound == [f"127.0.0.1:{number(rtp)}"]
    assert made.sockets == [rtp, rtcp]
    port = number(rtp)
    made.close()
    assert is_free(port)
    assert is_free(port + 1)


def test_a_port_that_is_asked_for_is_not_taken_for_rtcp(three):
    made = ports(f"127.0.0.1:{three}", f"127.0.0.1:{three + 1}")
    assert [number(sock) for sock in made.rtp] == [three, three + 1]
    assert [number(sock) for sock in made.rtcp] == [three + 2]
    made.close()


def test_a_neighbour_that_another_has_costs_rtcp_and_is_said_once(three):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", three + 1))
        made = ports(f"127.0.0.1:{three}")
        assert made.rtcp == []
        (warning,) = [w for w in made.warnings if "goodbyes" in w]
        assert f"127.0.0.1:{three + 1}" in warning
        made.close()


def test_of_addresses_of_which_one_cannot_be_bound_none_is(three):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", three + 2))
        with pytest.raises(SourceError, match="another program"):
            ports(f"127.0.0.1:{three}", f"127.0.0.1:{three + 2}")
    assert is_free(three)


@pytest.mark.parametrize(("wanted", "short"), [(BUFFER, True), (4096, False)])
def test_a_buffer_is_short_where_the_system_grants_less_and_then_it_is_said(monkeypatch, wanted, short):
    # Who may force a buffer is granted any: here as for a user who may not.
    monkeypatch.setattr(
        "streamcab.rtp.udp._enlarge",
        lambda sock: sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536),
    )
    monkeypatch.setattr("streamcab.rtp.ports.BUFFER", wanted)
    made = ports("127.0.0.1:0")
    assert made.short == short
    assert any("rmem_max" in warning for warning in made.warnings) == short
    made.close()


def test_what_the_kernel_had_no_room_for_is_counted_over_all_sockets():
    made = ports("127.0.0.1:0", "127.0.0.1:0")
    for sock in made.rtp:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for sock in made.rtp:
            for _ in range(300):
                sender.sendto(bytes(172), sock.getsockname())
    assert made.dropped == 0
    made.look()
    held = sum(1 for sock in made.rtp for _ in iter(lambda p=sock: waiting(p), False))
    assert made.dropped == 600 - held > 0
    made.close()


def waiting(sock):
    """Whether a datagram was there to be taken."""
    try:
        sock.recv(2048)
    except BlockingIOError:
        return False
    return True
