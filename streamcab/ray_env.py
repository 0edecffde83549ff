"""The environment in which Ray is used, set before it is imported, since it reads it then.

Ray reports usage unless it is told not to, listens on all interfaces, and lets any client run code: so no
statistics, loopback for a cluster of this machine alone, and a token for any other. Knows nothing of what is run.
"""

import os
import tempfile
from collections.abc import MutableMapping

from streamcab.config.address import HostPort
from streamcab.errors import ConfigError

LOCAL = "local"
"""The address that means: start a cluster of this machine, for this run."""
LONGEST = 45
"""Characters of a folder for temporary files below which Ray's sockets still have names."""


def prepare(address: str, environment: MutableMapping[str, str] | None = None) -> None:
    """Set the variables for a cluster at this address: `local`, or HOST:PORT.

    ConfigError where the address is none, or no token is there for one that is not on this machine.
    """
    env = os.environ if environment is None else environment
    env["RAY_USAGE_STATS_ENABLED"] = "0"
    if len(tempfile.gettempdir()) > LONGEST:
        env.setdefault("RAY_TMPDIR", "/tmp")
    if address == LOCAL or _host(address) in ("127.0.0.1", "::1", "localhost"):
        # Its name says otherwise, and it is what makes every socket of Ray's be bound to 127.0.0.1.
        env["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        return
    if not env.get("RAY_AUTH_TOKEN") and not env.get("RAY_AUTH_TOKEN_PATH"):
        raise ConfigError(
            f"--ray {address}: whoever reaches a cluster runs code there, so it wants a token: "
            "set RAY_AUTH_TOKEN_PATH to a file that holds it, here and on every node"
        )
    env["RAY_AUTH_MODE"] = "token"


def _host(address: str) -> str:
    try:
        return HostPort(address).host
    except ValueError as error:
        raise ConfigError(f"--ray: {error}, and not {LOCAL}") from None
