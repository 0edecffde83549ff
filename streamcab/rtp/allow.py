"""The source addresses that may send: a list of networks, applied to whole batches. Knows nothing of RTP."""

import ipaddress
import socket
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from streamcab.errors import ConfigError


class AllowList:
    """Networks as `10.0.0.0/8`, `192.0.2.7` or `2001:db8::/32`; ConfigError for anything else."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._four: list[tuple[int, int]] = []
        self._six: list[tuple[int, int]] = []
        for text in networks:
            try:
                network = ipaddress.ip_network(text.strip(), strict=False)
            except ValueError:
                raise ConfigError(f"not a network: {text!r}; write 10.0.0.0/8 or 2001:db8::/32") from None
            pair = (int(network.network_address), int(network.netmask))
            (self._four if network.version == 4 else self._six).append(pair)

    def match(self, name: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return whether each source is in one of the networks, (n,); name (n, 4) holds the sockaddrs of a `Batch`."""
        raw = np.ascontiguousarray(name)
        four = raw.view(np.uint16)[:, 0] == socket.AF_INET
        allowed = np.zeros(len(name), np.bool_)
        if self._four:
            address = raw.view(">u4")[:, 1].astype(np.uint32)
            for network, mask in self._four:
                allowed |= address & np.uint32(mask) == np.uint32(network)
            allowed &= four
        if self._six and not four.all():
            high, low = raw.view(">u8")[:, 1].astype(np.uint64), raw.view(">u8")[:, 2].astype(np.uint64)
            for network, mask in self._six:
                same = high & np.uint64(mask >> 64) == np.uint64(network >> 64)
                same &= low & np.uint64(mask & 2**64 - 1) == np.uint64(network & 2**64 - 1)
                allowed |= same & ~four
        return allowed

    def holds(self, host: str) -> bool:
        """Return whether an address, as text, is in one of the networks."""
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address):
            address = address.ipv4_mapped or address
        networks = self._four if address.version == 4 else self._six
        return any(int(address) & mask == network for network, mask in networks)
