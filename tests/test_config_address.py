"""HOST:PORT, and the hosts that only this machine reaches."""

import pytest

from streamcab.config.address import HostPort, is_loopback


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:9464", "127.0.0.1", 9464), ("[::1]:80", "::1", 80), ("localhost:0", "localhost", 0)],
)
def test_an_address_has_a_host_and_a_port(text: str, host: str, port: int) -> None:
    assert (HostPort(text).host, HostPort(text).port) == (host, port)


@pytest.mark.parametrize("text", ["", "9464", ":9464", "[]:1", "host:", "host:x", "host:65536", "host:-1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not HOST:PORT, such as"):
        HostPort(text)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.9.9.9"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
def test_no_loopback(host: str) -> None:
    assert not is_loopback(host)
