"""The commands for operators, `status`, `doctor`, `metrics`, `bridge`, `log`: options in, lines and codes out.

Each listens to the feed of a daemon and is a process of its own. Knows click, and nothing of the measurements.
"""

import json
import shutil
import sys
import textwrap
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streamcab.cli.command import Command, say, stop_on_signals
from streamcab.cli.load import client_keys
from streamcab.cli.options import endpoint_argument, settings
from streamcab.config.commands import METRICS, Bridge, Doctor, FeedLog, Metrics, Status
from streamcab.config.tree import ENDPOINT
from streamcab.errors import ConfigError
from streamcab.text import printable_lines

if TYPE_CHECKING:
    from streamcab.feed import Subscriber
    from streamcab.feed.curve import ClientKeys


@click.command(cls=Command)
@endpoint_argument
@settings(Status)
def status(o: Status, endpoint: str) -> None:
    """Show the health of the daemon at ENDPOINT on one screen.

    Exit codes: 0: healthy. 1: a source or audio was lost, the daemon is late, or it refused this client.
    75: no answer.
    """
    from streamcab.feed import Subscriber
    from streamcab.health import status as s

    with Subscriber(endpoint, keys=client_keys(o.key, o.server_key)) as feed:
        snapshot = s.observe(feed, o.wait)
    if o.json:
        click.echo(s.report(snapshot, endpoint))
    else:
        click.echo(s.screen(snapshot, endpoint), nl=False)
    sys.exit(s.verdict(snapshot))


@click.command(cls=Command)
@settings(Doctor)
def doctor(o: Doctor) -> None:
    """Check whether this machine can run the daemon, and print a remedy for each problem.

    It changes nothing.

    Exit codes: 0: no problems, though there may be warnings. 1: problems.
    """
    from streamcab.health.doctor import examine

    bad = False
    for found in examine(ENDPOINT, METRICS.port, 5004):
        bad = bad or found.grade == "bad"
        if o.json:
            click.echo(json.dumps(vars(found)))
        else:
            colour = {"ok": "green", "warn": "yellow", "bad": "red"}[found.grade]
            said = printable_lines(_hung(found.said, 20))
            click.echo(f"{click.style(f'{found.grade:<4}', fg=colour)}  {found.name:<12}  {said}")
            if found.mend:
                say(f"{' ' * 20}-> {_hung(found.mend, 23)}")
    sys.exit(1 if bad else 0)


@click.command(cls=Command)
@endpoint_argument
@settings(Metrics)
def metrics(o: Metrics, endpoint: str) -> None:
    """Serve metrics of the daemon to Prometheus.

    The default address is http://127.0.0.1:9464/metrics. docs/how-to/operations.md lists the metrics.
    """
    from streamcab.config.address import is_loopback
    from streamcab.feed import Subscriber
    from streamcab.health.exporter import export

    if not o.expose and not is_loopback(o.listen.host):
        raise ConfigError(
            f"--listen {o.listen.host} is not a loopback address; scrape through a proxy, or add --expose"
        )
    with stop_on_signals() as stop, Subscriber(endpoint, keys=client_keys(o.key, o.server_key)) as feed:
        export(feed, o.listen.host, o.listen.port, stop, click.echo)


@click.command(cls=Command)
@click.argument("kind", type=click.Choice(["mqtt", "otlp"]))
@endpoint_argument
@settings(Bridge)
def bridge(o: Bridge, kind: str, endpoint: str) -> None:
    """Forward the feed to an MQTT broker, with discovery by Home Assistant; or to an OpenTelemetry collector.

    \b
    streamcab bridge mqtt --broker 192.168.1.2:1883 --username streamcab --password-file FILE
    streamcab bridge otlp --collector http://127.0.0.1:4318
    """
    from streamcab.feed import Subscriber

    if kind == "otlp":
        from streamcab.health import otlp

        _start_logging()
        keys = client_keys(o.key, o.server_key)
        with stop_on_signals() as stop, Subscriber(endpoint, keys=keys) as feed:
            otlp.bridge(feed, o.collector, stop, click.echo)
        return
    from streamcab.health import mqtt
    from streamcab.health.homeassistant import EntityNames

    for word, part in (("--base", o.base), ("--discovery", o.discovery)):
        if (
            set(part) & set("+#\0")
            or part.startswith("/")
            or part.endswith("/")
            or (word == "--base" and not part)
        ):
            raise ConfigError(f"{word} {part!r} is not valid at the start of an MQTT topic")
    _start_logging()
    password, ca = _password(o.password_file), str(o.ca) if o.ca else None
    where = mqtt.Broker(o.broker.host, o.broker.port, o.username, password, o.tls, ca)
    keys = client_keys(o.key, o.server_key)
    with stop_on_signals() as stop, Subscriber(endpoint, keys=keys) as feed:
        names = EntityNames(o.base, o.discovery)
        mqtt.bridge(feed, where, names, stop, click.echo, every_s=o.every, discover=bool(o.discovery))


@click.command(cls=Command)
@endpoint_argument
@settings(FeedLog)
def log(o: FeedLog, endpoint: str) -> None:
    """Write the feed to a file of JSON lines, and rotate it.

    Each line is one message (docs/reference/feed.md). SIGHUP reopens the file, for logrotate. The files together
    never exceed (keep + 1) * max-mb.
    """
    from streamcab.health.feed_log import Thinning, record
    from streamcab.health.jsonl import JsonLinesFile

    lines, reopen = JsonLinesFile(o.out, round(o.max_mb * 1e6), o.keep), threading.Event()
    try:
        keys = client_keys(o.key, o.server_key)
        with stop_on_signals(reopen) as stop, _subscriber(endpoint, o.stream, o.kind, keys) as feed:
            thinning = Thinning(o.every, o.last)
            record(feed, lines, stop, reopen, lambda text: click.echo(text, err=True), thinning=thinning)
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
    from streamcab.text import read_text

    try:
        return read_text(file).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"cannot read the password in {file}: {getattr(error, 'strerror', None) or error}"
        ) from None


def _start_logging() -> None:
    import logging

    logging.basicConfig(level="WARNING", stream=sys.stderr, format="%(levelname)s %(message)s")


def _hung(text: str, at: int) -> str:
    """Lay out a text that begins at column `at` of a terminal, with its further lines below it; for a pipe as it is."""
    if not sys.stdout.isatty():
        return text
    room = max(shutil.get_terminal_size().columns - at, 20)
    lines = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False)
    return f"\n{' ' * at}".join(lines)
