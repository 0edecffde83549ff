"""The commands for operators, `status`, `doctor`, `metrics`, `bridge`, `log`: options in, lines and codes out.

Each listens to the feed of a daemon and is a process of its own. Knows click, and nothing of what is measured.
"""

import json
import shutil
import sys
import textwrap
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streamcab.cli.options import (
    Command,
    client_keys,
    endpoint_argument,
    key_options,
    option,
    stop_on_signals,
)
from streamcab.errors import ConfigError

if TYPE_CHECKING:
    from streamcab.feed import Subscriber
    from streamcab.feed.curve import ClientKeys


class _Address(click.ParamType["tuple[str, int]"]):
    """HOST:PORT, or [HOST]:PORT for IPv6."""

    name = "HOST:PORT"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        if isinstance(value, tuple):
            return value
        host, _, port = str(value).rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not host or not port.isdecimal() or int(port) > 65_535:
            self.fail(f"{value!r} is no HOST:PORT, such as 127.0.0.1:9464", param, ctx)
        return host, int(port)


@click.command(cls=Command)
@endpoint_argument
@option("--wait", type=click.FloatRange(0.1, 60), default=5.0, help="Seconds to wait for an answer.")
@option("--json", "as_json", is_flag=True, help="JSON, one object.")
@key_options
def status(endpoint: str, wait: float, as_json: bool, key: Path | None, server_key: Path | None) -> None:
    """How the daemon at ENDPOINT is doing, on one screen.

    Exit codes: 0 all is well; 1 something is wrong (a source lost, audio lost just now, far behind, or we are
    refused); 75 nobody answers.
    """
    from streamcab.feed import Subscriber
    from streamcab.health import status as s

    with Subscriber(endpoint, keys=client_keys(key, server_key)) as feed:
        snapshot = s.observe(feed, wait)
    if as_json:
        click.echo(s.report(snapshot, endpoint))
    else:
        click.echo(s.screen(snapshot, endpoint), nl=False)
    sys.exit(s.verdict(snapshot))


@click.command(cls=Command)
@option("--json", "as_json", is_flag=True, help="JSON, one object a line.")
def doctor(as_json: bool) -> None:
    """Whether this machine is fit for the daemon, and what mends it.

    It looks at what has gone wrong for others, and changes nothing.

    Exit codes: 0 nothing is bad (there may be warnings); 1 something is.
    """
    from streamcab.health.doctor import examine

    bad = False
    for found in examine("tcp://127.0.0.1:5557", 9464, 5004):
        bad = bad or found.grade == "bad"
        if as_json:
            click.echo(json.dumps(vars(found)))
        else:
            colour = {"ok": "green", "warn": "yellow", "bad": "red"}[found.grade]
            click.echo(
                f"{click.style(f'{found.grade:<4}', fg=colour)}  {found.name:<12}  {_hung(found.said, 20)}"
            )
            if found.mend:
                click.echo(f"{' ' * 20}-> {_hung(found.mend, 23)}")
    sys.exit(1 if bad else 0)


@click.command(cls=Command)
@endpoint_argument
@option(
    "--listen", type=_Address(), default="127.0.0.1:9464", help="Where the metrics are served; port 0: any."
)
@option(
    "--expose", is_flag=True, help="Serve other machines too: unencrypted, to anybody who reaches the port."
)
@key_options
def metrics(
    endpoint: str, listen: tuple[str, int], expose: bool, key: Path | None, server_key: Path | None
) -> None:
    """Serve the daemon's health to Prometheus.

    On http://127.0.0.1:9464/metrics unless told otherwise. docs/how-to/operations.md lists what there is.
    """
    from streamcab.feed import Subscriber
    from streamcab.health.exporter import export, is_loopback

    if not expose and not is_loopback(listen[0]):
        raise ConfigError(
            f"--listen {listen[0]} is not this machine's own; scrape by a proxy, or say --expose"
        )
    with stop_on_signals() as stop, Subscriber(endpoint, keys=client_keys(key, server_key)) as feed:
        export(feed, *listen, stop, click.echo)


@click.command(cls=Command)
@click.argument("kind", type=click.Choice(["mqtt"]))
@endpoint_argument
@option("--broker", type=_Address(), default="127.0.0.1:1883", help="The MQTT broker.")
@option("--username", help="By which the broker knows us.")
@option("--password-file", type=click.Path(path_type=Path), help="File that holds the password.")
@option("--tls", is_flag=True, help="Encrypt, and check the broker's certificate.")
@option("--ca", type=click.Path(path_type=Path), help="Certificates to check it against; implies --tls.")
@option("--base", default="streamcab", help="First part of our topics; one for each daemon at a broker.")
@option(
    "--every", type=click.FloatRange(0.1, 3600), default=1.0, help="Seconds between messages of a stream."
)
@option("--discovery", default="homeassistant", help="Home Assistant's prefix; empty: do not announce.")
@key_options
def bridge(
    kind: str,
    endpoint: str,
    broker: tuple[str, int],
    username: str | None,
    password_file: Path | None,
    tls: bool,
    ca: Path | None,
    base: str,
    every: float,
    discovery: str,
    key: Path | None,
    server_key: Path | None,
) -> None:
    """Pass the feed on to an MQTT broker and Home Assistant.

    \b
    streamcab bridge mqtt --broker 192.168.1.2:1883 --username streamcab --password-file FILE
    """
    from streamcab.feed import Subscriber
    from streamcab.health import mqtt
    from streamcab.health.homeassistant import EntityNames

    for word, part in (("--base", base), ("--discovery", discovery)):
        if (
            set(part) & set("+#\0")
            or part.startswith("/")
            or part.endswith("/")
            or (word == "--base" and not part)
        ):
            raise ConfigError(f"{word} {part!r} cannot begin a topic of MQTT")
    _start_logging()
    where = mqtt.Broker(*broker, username, _password(password_file), tls, str(ca) if ca else None)
    with stop_on_signals() as stop, Subscriber(endpoint, keys=client_keys(key, server_key)) as feed:
        names = EntityNames(base, discovery)
        mqtt.bridge(feed, where, names, stop, click.echo, every_s=every, discover=bool(discovery))


@click.command(cls=Command)
@endpoint_argument
@option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The newest file.")
@option(
    "--max-mb", type=click.FloatRange(0.01, 1_000_000), default=100.0, help="Size at which a new file begins."
)
@option(
    "--keep",
    type=click.IntRange(0, 10_000),
    default=5,
    help="Older files that are kept: FILE.1 is the newest.",
)
@option("--kind", "kinds", multiple=True, help="Only prediction, status, daemon or model; repeatable.")
@option("--stream", "streams", multiple=True, help="Only this stream; repeatable.")
@key_options
def log(
    endpoint: str,
    out: Path,
    max_mb: float,
    keep: int,
    kinds: tuple[str, ...],
    streams: tuple[str, ...],
    key: Path | None,
    server_key: Path | None,
) -> None:
    """Write the feed to a file, JSON lines, with rotation.

    Each line is a message as docs/reference/feed.md describes it. SIGHUP opens the file anew, for logrotate. The disk
    never holds more than (keep + 1) * max-mb.
    """
    from streamcab.health.feed_log import record
    from streamcab.health.jsonl import JsonLinesFile

    lines, reopen = JsonLinesFile(out, round(max_mb * 1e6), keep), threading.Event()
    try:
        keys = client_keys(key, server_key)
        with stop_on_signals(reopen) as stop, _subscriber(endpoint, streams, kinds, keys) as feed:
            record(feed, lines, stop, reopen, lambda text: click.echo(text, err=True))
    finally:
        lines.close()


def _subscriber(
    endpoint: str, streams: tuple[str, ...], kinds: tuple[str, ...], keys: "ClientKeys | None"
) -> "Subscriber":
    from streamcab.feed import Subscriber

    try:
        return Subscriber(endpoint, streams or None, kinds or None, keys=keys)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _password(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        return file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"cannot read the password in {file}: {getattr(error, 'strerror', None) or error}"
        ) from None


def _start_logging() -> None:
    import logging

    logging.basicConfig(level="WARNING", stream=sys.stderr, format="%(levelname)s %(message)s")


def _hung(text: str, at: int) -> str:
    """A text that begins at column `at` of a terminal, with its further lines below it; for a pipe as it is."""
    if not sys.stdout.isatty():
        return text
    room = max(shutil.get_terminal_size().columns - at, 20)
    lines = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False)
    return f"\n{' ' * at}".join(lines)
