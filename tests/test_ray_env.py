"""What is set before Ray is imported: no statistics, loopback, a token."""

import pytest

from streamcab.errors import ConfigError
from streamcab.ray_env import prepare


@pytest.mark.parametrize("address", ["local", "127.0.0.1:6379", "localhost:6379", "[::1]:6379"])
def test_on_this_machine_it_is_loopback(address: str) -> None:
    env: dict[str, str] = {"RAY_USAGE_STATS_ENABLED": "1"}
    prepare(address, env)
    assert env["RAY_USAGE_STATS_ENABLED"] == "0"
    assert env["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
    assert "RAY_AUTH_MODE" not in env


def test_elsewhere_it_wants_a_token() -> None:
    with pytest.raises(ConfigError, match="RAY_AUTH_TOKEN_PATH"):
        prepare("head.example:6379", {})
    env = {"RAY_AUTH_TOKEN_PATH": "/secret"}
    prepare("head.example:6379", env)
    assert env["RAY_AUTH_MODE"] == "token"
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in env


@pytest.mark.parametrize("address", ["head", "head:port", ""])
def test_an_address_is_host_and_port(address: str) -> None:
    with pytest.raises(ConfigError, match="HOST:PORT"):
        prepare(address, {})
