"""Names of calls: from the user's map, else the CNAME that the sender announces, else the address.

Knows the rules of a stream's name. Of calls it knows only address, port and SSRC.
"""

import csv
import ipaddress
import re
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from streamcab.errors import ConfigError
from streamcab.message import valid_name
from streamcab.text import stream_name

LONGEST = 128


def clean(text: str) -> str:
    """Return any text as a valid stream name, other scripts spelled in Latin letters; empty if nothing can be read."""
    if not text.isascii():
        return stream_name(text, also=":@") if any(map(str.isalnum, text)) else ""
    name = re.sub(r"[^A-Za-z0-9._:@-]+", "-", text).strip("-._:@")[:LONGEST]
    return name if valid_name(name) else ""


@dataclass(frozen=True)
class Rule:
    """One line of a name map; None means `*`."""

    network: ipaddress.IPv4Network | ipaddress.IPv6Network | None
    port: int | None
    ssrc: int | None
    name: str

    def fits(self, host: str, port: int, ssrc: int) -> bool:
        """Return whether this rule matches the call."""
        if self.port not in (None, port) or self.ssrc not in (None, ssrc):
            return False
        return self.network is None or ipaddress.ip_address(host) in self.network


def parse_name_map(lines: Iterable[str], origin: str = "name map") -> list[Rule]:
    """Parse lines of `address,port,ssrc,name`; `*` for any, networks as 10.0.0.0/8, SSRC in hex. ConfigError."""
    rules = []
    for number, fields in enumerate(csv.reader(lines), 1):
        row = [field.strip() for field in fields]
        if not any(row) or row[0].startswith("#") or row == ["address", "port", "ssrc", "name"]:
            continue
        try:
            if len(row) != 4:
                raise ValueError("write address,port,ssrc,name")
            address, port, ssrc, name = row
            if not valid_name(name):
                raise ValueError(f"{name!r} cannot name a stream: letters, digits and . _ : @ - only")
            rule = Rule(
                None if address == "*" else ipaddress.ip_network(address, strict=False),
                None if port == "*" else int(port),
                None if ssrc == "*" else int(ssrc, 16),
                name,
            )
        except ValueError as error:
            raise ConfigError(f"{origin}, line {number}: {error}", secrets=[row[0], row[-1]]) from None
        rules.append(rule)
    return rules


class CallNames:
    """Assigns names, and remembers the newest `remembered` names from RTCP."""

    def __init__(self, rules: Iterable[Rule] = (), remembered: int = 4096) -> None:
        self._rules = list(rules)
        self._remembered = remembered
        self._told: OrderedDict[tuple[str, int], str] = OrderedDict()
        self._used: set[str] = set()

    def retune(self, rules: Iterable[Rule]) -> None:
        """Replace the rules for calls that start from now on; may be called from any thread."""
        self._rules = list(rules)

    def tell(self, host: str, ssrc: int, cname: str) -> None:
        """Record the CNAME that a source has announced."""
        self._told[host, ssrc] = cname
        self._told.move_to_end((host, ssrc))
        while len(self._told) > self._remembered:
            self._told.popitem(last=False)

    def cname(self, host: str, ssrc: int) -> str:
        """Return the announced CNAME, or empty."""
        return self._told.get((host, ssrc), "")

    def give(self, host: str, port: int, ssrc: int, channel: int = 0) -> str:
        """Return a name that stays unique until `free` is called with it; that of a channel ends in its number."""
        plain = f"rtp-{host}-{port}-{ssrc:08x}"
        mapped = next((rule.name for rule in self._rules if rule.fits(host, port, ssrc)), "")
        wanted = mapped or clean(self.cname(host, ssrc)) or plain
        if channel:
            wanted = f"{wanted[: LONGEST - 8]}-{channel}"
        name, k = wanted, 1
        while name in self._used:
            k += 1
            name = f"{wanted[: LONGEST - 8]}-{k}"
        self._used.add(name)
        return name

    def free(self, name: str) -> None:
        """Release the name of a stream that has ended."""
        self._used.discard(name)
