"""Addresses: HOST:PORT, and which hosts only this machine can reach."""

import ipaddress


class HostPort(str):
    """An address to connect to or to serve at: HOST:PORT, or [HOST]:PORT for IPv6."""

    __slots__ = ()

    def __new__(cls, text: str) -> "HostPort":
        """Parse an address.

        Raises:
            ValueError: `text` is no address.
        """
        host, _, port = text.rpartition(":")
        if not host.removeprefix("[").removesuffix("]") or not port.isdecimal() or int(port) > 65_535:
            raise ValueError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:9464")
        return super().__new__(cls, text)

    @property
    def host(self) -> str:
        """The host, without the brackets of IPv6."""
        return self.rpartition(":")[0].removeprefix("[").removesuffix("]")

    @property
    def port(self) -> int:
        """The port, 0 to 65535."""
        return int(self.rpartition(":")[2])


def is_loopback(host: str) -> bool:
    """Return whether only programs on this machine can reach `host`, an address or `localhost`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
