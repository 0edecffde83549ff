"""The ports of an intake: a socket for RTP at each address, and one for RTCP on the next port if that is free.

Owns these sockets, their counts of losses, and the interface of each multicast group. Knows nothing of datagrams.
"""

import logging
import socket
from collections.abc import Sequence
from contextlib import suppress

from streamcab.errors import SourceError
from streamcab.rtp.udp import BUFFER, Address, buffer_bytes, join_anew, kernel_drops, listen

log = logging.getLogger("streamcab.source")

PAIRS = 20
"""Attempts to find a port whose neighbour is free for RTCP, if the system may choose."""
DISCARDED = 200_000
"""Datagrams that `empty` discards of one socket at most, lest it follow a flood."""


class Ports:
    """The bound sockets of these addresses. SourceError if one cannot be bound; then none is.

    rtp, rtcp  the sockets
    bound      the addresses, in words: with the ports that the system chose
    warnings   messages to the operator
    short      whether a receive buffer is smaller than requested
    dropped    datagrams that the kernel dropped, as of the last `look`
    """

    def __init__(self, addresses: Sequence[Address]) -> None:
        self.rtp: list[socket.socket] = []
        self.rtcp: list[socket.socket] = []
        self.bound: list[str] = []
        self.warnings: list[str] = []
        self.dropped = self._dropped_before = 0
        self._groups: dict[socket.socket, tuple[Address, int]] = {}  # and the number of the interface
        asked = {(a.host, a.port) for a in addresses}
        try:
            for address in addresses:
                self._bind(address, asked)
        except SourceError:
            self.close()
            raise
        self._look_at_buffers()

    @classmethod
    def of(cls, rtp: list[socket.socket], rtcp: list[socket.socket], bound: Sequence[str]) -> "Ports":
        """Return sockets that are bound already, in the form of ports."""
        ports = cls(())
        ports.rtp, ports.rtcp, ports.bound = rtp, rtcp, list(bound)
        ports._dropped_before = sum(kernel_drops(sock) for sock in ports.sockets)
        ports._look_at_buffers()
        return ports

    def empty(self) -> None:
        """Discard datagrams that arrived while nothing was received."""
        for sock in self.sockets:
            with suppress(BlockingIOError):
                for _ in range(DISCARDED):
                    sock.recv(1)

    def _look_at_buffers(self) -> None:
        least = min((buffer_bytes(sock) for sock in self.rtp), default=BUFFER)
        self.short = least < BUFFER
        if self.short:
            self._warn(
                f"the receive buffer is {least >> 10} kB where {BUFFER >> 10} kB were asked for: bursts may be "
                f"lost; allow more with `sysctl -w net.core.rmem_max={BUFFER}`"
            )

    @property
    def sockets(self) -> list[socket.socket]:
        """Return all sockets, those for RTCP at the end."""
        return self.rtp + self.rtcp

    def look(self) -> None:
        """Count the kernel's drops, and follow groups whose interface went away or came back."""
        self.dropped = sum(kernel_drops(sock) for sock in self.sockets) - self._dropped_before
        for sock, (address, index) in self._groups.items():
            now = join_anew(sock, address, index)
            if now != index:
                self._groups[sock] = address, now
                log.warning("RTP: %s: its interface is %s", address, "back: joined again" if now else "gone")

    def close(self) -> None:
        """Close the sockets."""
        for sock in self.sockets:
            sock.close()

    def _bind(self, address: Address, asked: set[tuple[str, int]]) -> None:
        sock, second = self._pair(address, asked)
        self.rtp.append(sock)
        self.rtcp += [second] if second else []
        if address.group and address.interface:
            index = socket.if_nametoindex(address.interface)
            self._groups |= {p: (address, index) for p in (sock, second) if p}
        self.bound.append(str(Address(address.host, sock.getsockname()[1], address.interface)))

    def _pair(
        self, address: Address, asked: set[tuple[str, int]]
    ) -> tuple[socket.socket, socket.socket | None]:
        """Bind a socket for RTP, and one for RTCP on the next port if that is free and not requested itself."""
        for k in range(PAIRS):
            sock = listen(address, dual=self._dual(address.port, asked))
            port = int(sock.getsockname()[1])
            if (address.host, port + 1) in asked or port == 65535:
                return sock, None
            try:
                second = Address(address.host, port + 1, address.interface)
                return sock, listen(second, dual=self._dual(port + 1, asked))
            except SourceError as error:
                if address.port or k == PAIRS - 1:
                    self._warn(f"{error}: goodbyes and names sent there are not heard")
                    return sock, None
                sock.close()
        raise AssertionError("unreachable")

    @staticmethod
    def _dual(port: int, asked: set[tuple[str, int]]) -> bool:
        """Return whether `[::]` may include IPv4, that is, this port is not requested there."""
        return not any(":" not in host and each == port for host, each in asked)

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)
