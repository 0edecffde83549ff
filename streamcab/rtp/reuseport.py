"""Several sockets on each address, one for each process: the kernel gives every call to one of them.

By itself the kernel hashes addresses and ports, and so parts a call from its RTCP, which has ports of its own. A
classic BPF program replaces that hash by one of the source's address and the SSRC, which both have in common. Nothing
needs privileges. Where a call keeps its port and changes its SSRC, the port takes the place of the SSRC.

Owns the program and the order of the sockets, on which the choice depends. Knows nothing of processes.
"""

import ctypes
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from streamcab.errors import ConfigError, SourceError
from streamcab.rtp.ports import Ports
from streamcab.rtp.udp import Address, listen

_SO_ATTACH_REUSEPORT_CBPF = 51
_NET = 0xFFF00000  # SKF_NET_OFF: offsets from here count from the header of IP
_MIX = 0x9E3779B1  # Knuth's multiplier: SSRCs that follow each other come to different sockets
# Operations of linux/filter.h; LD_* read big-endian.
_LD_W, _LD_H, _LD_H_IND, _LD_B, _LDX_MSH, _TAX = 0x20, 0x28, 0x48, 0x30, 0xB1, 0x07
_ADD_X, _MUL, _RSH, _MOD, _RET_A = 0x0C, 0x24, 0x74, 0x94, 0x16
_JA, _JEQ, _JGT, _JGE, _ST, _LDX_MEM = 0x05, 0x15, 0x25, 0x35, 0x02, 0x61

_SOURCE = [
    (_LD_B, 0, 0, _NET),
    (_RSH, 0, 0, 4),
    (_JEQ, 2, 0, 6),
    (_LD_W, 0, 0, _NET + 12),  # IPv4
    (_JA, 0, 0, 1),
    (_LD_W, 0, 0, _NET + 20),  # IPv6: the last quarter of the address
]
_SSRC = [
    (_TAX, 0, 0, 0),
    (_LD_B, 0, 0, 1),
    (_JGE, 0, 3, 192),
    (_JGT, 2, 0, 223),
    (_LD_W, 0, 0, 4),  # RTCP (RFC 5761): of its sender
    (_JA, 0, 0, 1),
    (_LD_W, 0, 0, 8),
    (_ADD_X, 0, 0, 0),
]
_PORT = [
    (_ST, 0, 0, 0),
    (_LD_B, 0, 0, _NET),
    (_RSH, 0, 0, 4),
    (_JEQ, 3, 0, 6),
    (_LDX_MSH, 0, 0, _NET),
    (_LD_H_IND, 0, 0, _NET),
    (_JA, 0, 0, 1),
    (_LD_H, 0, 0, _NET + 40),  # IPv6
    (_RSH, 0, 0, 1),  # the ports of RTP and RTCP are a pair, the even one first
    (_LDX_MEM, 0, 0, 0),
    (_ADD_X, 0, 0, 0),
]


@dataclass(frozen=True)
class Shared:
    """The sockets of one process: file descriptors for RTP and RTCP, and the addresses, in words."""

    rtp: list[int]
    rtcp: list[int]
    bound: list[str]

    def ports(self) -> Ports:
        """Return them as ports, for the process that has inherited the descriptors."""
        rtp, rtcp = ([socket.socket(fileno=fd) for fd in fds] for fds in (self.rtp, self.rtcp))
        return Ports.of(rtp, rtcp, self.bound)


def spread(addresses: Sequence[Address], count: int, *, by_port: bool = False) -> list[Ports]:
    """Bind `count` sockets at each of these addresses, and at the next port for RTCP; return them by process.

    They must outlive the processes that read them: a socket that is closed moves the calls of all others.

    Args:
        addresses: Where to listen.
        count: Number of processes.
        by_port: Choose by address and port of the source, not by address and SSRC.

    Raises:
        SourceError: An address cannot be bound.
        ConfigError: One is a multicast group, whose packets the kernel gives to every socket.
    """
    for address in addresses:
        if address.group:
            raise ConfigError(f"--workers: {address} is a multicast group, which every worker would hear")
    # Bound alone at first: SO_REUSEPORT would share a port with another daemon of this user.
    alone = Ports(addresses)
    rtp = [Address.parse(text) for text in alone.bound]
    ports = [sock.getsockname()[1] for sock in alone.rtcp]
    rtcp = [Address(a.host, a.port + 1, a.interface) for a in rtp if a.port + 1 in ports]
    dual = {sock.getsockname()[1] for sock in alone.sockets if _dual(sock)}
    alone.close()
    groups: list[list[socket.socket]] = []
    try:
        for address in (*rtp, *rtcp):
            groups.append([])
            for _ in range(count):
                groups[-1].append(listen(address, dual=address.port in dual, shared=True))
            _choose(groups[-1][0], count, by_port)
    except SourceError:
        for sock in (one for group in groups for one in group):
            sock.close()
        raise
    each = [
        Ports.of(list(s[: len(rtp)]), list(s[len(rtp) :]), alone.bound) for s in zip(*groups, strict=True)
    ]
    each[0].warnings += alone.warnings
    return each


def program(count: int, by_port: bool) -> list[tuple[int, int, int, int]]:
    """Return the instructions that choose one of `count` sockets; what is too short to be RTP goes to the first."""
    choice = [(_MUL, 0, 0, _MIX), (_RSH, 0, 0, 16), (_MOD, 0, 0, count), (_RET_A, 0, 0, 0)]
    return [*_SOURCE, *(_PORT if by_port else _SSRC), *choice]


def _choose(sock: socket.socket, count: int, by_port: bool) -> None:
    """Let the program choose among all sockets of the address of `sock`."""
    steps = program(count, by_port)
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    fprog = struct.pack("@H0P", len(steps)) + struct.pack("@P", ctypes.addressof(code))
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, fprog)
    except OSError as error:
        raise SourceError(
            f"--workers: the kernel takes no BPF program for a socket: {error.strerror}"
        ) from error


def _dual(sock: socket.socket) -> bool:
    return sock.family == socket.AF_INET6 and not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
