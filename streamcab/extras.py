"""The packages that each part of streamcab needs, and the command that installs a missing one.

Knows nothing of commands. tests/test_extras.py holds the table to pyproject.toml.
"""

from streamcab.errors import InstallError

EXTRAS = {
    "torch": "torch",
    "scipy": "torch",
    "av": "codecs",
    "prometheus_client": "health",
    "paho": "health",
    "matplotlib": "report",
    "starlette": "web",
    "uvicorn": "web",
    "ray": "ray",
    "websockets": "web",
    "sqlalchemy": "store",
    "alembic": "store",
    "psycopg": "postgres",
    "pyarrow": "parquet",
    "redis": "redis",
    "nats": "nats",
    "opentelemetry": "otel",
}
"""The extra that installs a package, by the name that it is imported as."""
BASE = ("numpy", "openvino", "sounddevice", "soundfile", "safetensors", "zmq", "msgspec", "rich", "click")
"""The packages of `pip install streamcab`. `watch`, `status` and `log` need only the last four."""


def line_for(package: str) -> str | None:
    """Return the command that makes a package importable; None for one that streamcab does not ask for."""
    if package in EXTRAS:
        return f"pip install 'streamcab[{EXTRAS[package]}]'"
    return "pip install streamcab" if package in BASE else None


def missing(package: str, what: str) -> InstallError:
    """Return the error that `what` needs a package which is not installed."""
    return InstallError(f"{what} needs {package}, which is not installed: {line_for(package)}")
