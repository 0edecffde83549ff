"""The command `listen`: options into the settings of a daemon and its sidecars. `daemon/session.py` serves."""

import logging
import os
import secrets
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streamcab.cli.command import Command, stop_on_signals
from streamcab.cli.load import backend_maker, gate_of, load_checkpoint
from streamcab.cli.notice import loaded, loading
from streamcab.cli.options import config_option, read_again, settings
from streamcab.cli.sources import sources_of
from streamcab.config.tree import Listen
from streamcab.errors import StreamcabError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streamcab.calls import Entry
    from streamcab.daemon.settings import Settings
    from streamcab.daemon.sidecars import Extras
    from streamcab.feed.curve import ServerKeys
    from streamcab.message import ModelInfo
    from streamcab.ops.pseudonyms import Pseudonyms
    from streamcab.sinks.parcel import Sink
    from streamcab.source import Source
    from streamcab.web.child import Page

log = logging.getLogger("streamcab")


@click.command(cls=Command)
@settings(Listen)
@config_option
@click.pass_context
def listen(ctx: click.Context, /, o: Listen) -> None:
    """Classify microphones, files, standard input or RTP calls, and publish the answers.

    \b
    streamcab listen --device 0
    streamcab listen --file call.wav --file other.flac
    streamcab listen --rtp 127.0.0.1:5004
    streamcab listen --media 127.0.0.1:8765
    streamcab listen --url rtsp://camera.example/audio
    arecord -f S16_LE -r 16000 | streamcab listen --stdin wav
    """
    if not o.screen.quiet:
        loading()
    from streamcab.cli.pools import listen_in_workers, listen_on_ray
    from streamcab.daemon.reload import Reload, limits
    from streamcab.daemon.session import Screen
    from streamcab.daemon.session import listen as run
    from streamcab.daemon.sidecars import Extras
    from streamcab.health.feed_log import Thinning
    from streamcab.health.jsonl import JsonLinesFile
    from streamcab.ops import logs
    from streamcab.ops.pseudonyms import Pseudonyms
    from streamcab.record.retention import Retention

    again = threading.Event()
    with ExitStack() as around:
        # First of all, so that a SIGHUP while the model loads does not end the process.
        stop = around.enter_context(stop_on_signals(again))
        journal = logs.start(o.log.log_level, logs.form_for(o.log.log_format, o.log.log_file), o.log.log_file)
        pseudonyms = Pseudonyms.load(o.names.hash_salt) if o.names.hash_names else None
        if pseudonyms is not None:
            pseudonyms.know(*o.sources.device, *o.sources.file, *([o.rtp.sdp] if o.rtp.sdp else []))
            journal.learn, journal.scrub = pseudonyms.learn, pseudonyms.scrub
            around.enter_context(_hidden_by(pseudonyms))
        sources = sources_of(o)
        if not sources:
            raise click.UsageError(
                "No source: add --device, --file, --url, --rtp, --media or --stdin (see streamcab devices)."
            )
        if o.recordings.record and o.sources.fast:
            raise click.UsageError(
                "--record and --fast exclude each other: --fast reads files, which need no recording."
            )
        lines, net = o.jsonl, o.net
        extras = Extras(
            again=again,
            reload=Reload(o, lambda: read_again(ctx, Listen), journal),
            retention=Retention(o.recordings.record, limits(o.recordings)) if o.recordings.record else None,
            lines=JsonLinesFile(lines.jsonl, round(lines.jsonl_max_mb * 1e6), lines.jsonl_keep)
            if lines.jsonl
            else None,
            page=_page(o),
            thinning=Thinning(lines.jsonl_every, lines.jsonl_last),
        )
        _keep_calls(o, extras, around)
        screen = (
            None
            if o.screen.quiet
            else Screen(o.screen.view, o.screen.json, caption=_caption(o, extras), ready=loaded)
        )
        workers = _workers(o, sources)
        if workers > 1 or o.shards.ray:
            served = settings_for(o, pseudonyms), sources
            if o.shards.ray:
                listen_on_ray(o, o.shards.ray, *served, stop, extras, screen)
            else:
                listen_in_workers(o, *served, workers, stop, extras, screen)
            if screen is not None:
                screen.summarise()
            return
        checkpoint, device = load_checkpoint(net.model, net.compute)
        if o.answers.voices == 1:
            checkpoint = checkpoint.with_one_voice
        backend = backend_maker(checkpoint, device, net.backend, net.precision, net.threads)
        if stop.is_set():
            return
        run(
            checkpoint,
            backend,
            sources,
            settings_for(o, pseudonyms),
            stop,
            extras,
            screen,
        )


def _caption(o: Listen, extras: "Extras") -> str:
    return o.feed.endpoint if extras.page is None else f"{o.feed.endpoint}, {extras.page.url}"


def _workers(o: Listen, sources: "list[Source]") -> int:
    """Return the number of processes; raise ConfigError and click's UsageError."""
    from streamcab.nn.device import workers_for

    count, rtp = workers_for(o.rtp.workers), bool(o.rtp.rtp or o.rtp.sdp)
    media = bool(o.media.media or o.media.audiosocket)
    if o.shards.ray and not rtp:
        raise click.UsageError("--ray shares out calls by RTP: give --rtp.")
    if o.shards.ray and len(sources) > 1:
        raise click.UsageError("--ray serves calls by RTP only: run another daemon for the other sources.")
    if count > 1 and not (rtp or media):
        raise click.UsageError("--workers shares out calls: give --rtp, --media or --audiosocket.")
    if count > 1 and len(sources) > rtp + media:
        raise click.UsageError("--workers serves calls only: run another daemon for the other sources.")
    return count


def _page(o: Listen) -> "Page | None":
    """Open the page, bound already: a wrong address is said before the model loads."""
    p = o.page
    if p.web is None:
        return None
    from streamcab.web.child import Page
    from streamcab.web.serve import Access

    page = Page(p.web, Access(p.web_host, p.web_token, p.web_cert, p.web_key, o.store.store))
    if o.screen.quiet:
        log.info("page on %s", page.url)
    else:
        loaded()
        click.echo(f"page on {page.url}", err=True)
        loading()
    return page


def _keep_calls(o: Listen, extras: "Extras", around: ExitStack) -> None:
    """Open the store and the sinks of calls, so that their errors are reported before any audio is heard."""
    told: list[Callable[[Entry | ModelInfo], None]] = []
    extras.run = secrets.token_hex(6)
    if o.store.store:
        from streamcab.daemon.reload import kept
        from streamcab.store.database import url_of
        from streamcab.store.writer import Writer

        extras.store = around.enter_context(Writer(url_of(o.store.store), extras.run, kept(o.store)))
        told.append(extras.store)
    if sinks := _sinks(o):
        from streamcab.sinks.post import Post, queue_of

        post = Post(sinks, o.sinks.sink_queue or queue_of(os.environ), extras.run, o.sinks.sink_every)
        extras.post = around.enter_context(post)
        told.append(extras.post)
    if told:

        def tell(entry: "Entry | ModelInfo") -> None:
            for each in told:
                each(entry)

        extras.told = tell


def _sinks(o: Listen) -> "list[Sink]":
    s = o.sinks
    found: list[Sink] = []
    if s.webhook:
        from streamcab.sinks.webhook import Webhook, secrets_in

        if s.webhook_secret is None:
            raise click.UsageError(
                "--webhook is signed: give --webhook-secret FILE (openssl rand -base64 32 > FILE)."
            )
        found.append(Webhook(s.webhook, secrets_in(s.webhook_secret)))
    if s.redis:
        from streamcab.sinks.redis import RedisStream

        found.append(RedisStream(s.redis, s.redis_stream))
    if s.nats:
        from streamcab.sinks.nats import NatsStream

        found.append(NatsStream(s.nats, s.nats_subject))
    return found


@contextmanager
def _hidden_by(pseudonyms: "Pseudonyms") -> "Iterator[None]":
    """Hide the names in errors that leave this block; unexpected errors go to the log."""
    try:
        yield
    except StreamcabError as error:
        raise pseudonyms.cleaned(error) from None
    except (click.ClickException, click.exceptions.Exit, BrokenPipeError):
        raise
    except Exception:
        log.exception("internal error")
        raise SystemExit(1) from None


def settings_for(o: Listen, pseudonyms: "Pseudonyms | None") -> "Settings":
    """Return the daemon's settings for these options."""
    from streamcab.daemon.settings import Settings

    return Settings(
        endpoint=o.feed.endpoint,
        window_s=o.answers.window,
        every_s=o.answers.every,
        max_lag_s=o.answers.max_lag,
        max_streams=o.max_streams,
        gate=gate_of(o.net.gate),
        attention=o.answers.attention,
        voices=o.answers.voices,
        keys=_server_keys(o.feed.keys),
        ipc_group=o.feed.ipc_group,
        pseudonyms=pseudonyms,
    )


def _server_keys(folder: Path | None) -> "ServerKeys | None":
    if folder is None:
        return None
    from streamcab.feed.curve import ServerKeys

    return ServerKeys(folder, os.environ.get("CREDENTIALS_DIRECTORY"))
