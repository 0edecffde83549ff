"""The commands `streamcab sinks ...`: the dead letters of the sinks. Knows click, and nothing of queues."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from streamcab.cli.command import Command, Group, say
from streamcab.cli.options import settings
from streamcab.config.commands import Queue
from streamcab.errors import StoreError

if TYPE_CHECKING:
    from streamcab.sinks.spool import Spool


@click.group(cls=Group)
def sinks() -> None:
    """The calls that a webhook, Redis or NATS did not take: dead letters, kept for a week."""


@sinks.command(cls=Command)
@settings(Queue)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line, with the event.")
def dead(o: Queue, as_json: bool) -> None:
    """List the dead letters, the oldest first, with the reason that the receiver gave."""
    from streamcab.health.status import duration

    with _queue(o) as queue:
        found = queue.letters()
    for letter in found:
        event = json.loads(letter.body)
        if as_json:
            told = {"sink": letter.sink, "born": letter.born, "tries": letter.tries, "error": letter.error}
            click.echo(json.dumps({**told, "event": event}))
        else:
            age = f"{duration(max(time.time() - letter.born, 0))} ago"
            say(f"{letter.uid:<20}  {letter.sink:<8}  {age:<12}  {event['call']['name']}  {letter.error}")
    if not found:
        click.echo("no dead letters", err=True)


@sinks.command(cls=Command)
@click.argument("ids", nargs=-1, metavar="[ID...]")
@settings(Queue)
def resend(o: Queue, ids: tuple[str, ...]) -> None:
    """Send dead letters again: all, or those with these ids.

    The daemon that uses the queue sends them within a second, or at its next start. Their ids stay the same.
    """
    with _queue(o) as queue:
        count = queue.resend(ids, time.time())
    if ids and not count:
        raise StoreError("no dead letter has such an id; `streamcab sinks dead` lists them")
    click.echo(f"{count} {'event is' if count == 1 else 'events are'} sent again", err=True)


@contextmanager
def _queue(o: Queue) -> "Iterator[Spool]":
    import sqlite3

    from streamcab.sinks.post import queue_of
    from streamcab.sinks.spool import Spool

    path = o.sink_queue or queue_of(os.environ)
    if not path.is_file():
        raise StoreError(f"there is no queue at {path}: give --sink-queue as `listen` has it")
    queue = Spool(path)
    try:
        yield queue
    except sqlite3.Error as error:
        raise StoreError(f"cannot use the queue {path} (--sink-queue): {error}") from None
    finally:
        queue.close()
