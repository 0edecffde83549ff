"""The command `listen`: options into sources and settings of a daemon. Knows click; `daemon/session.py` serves."""

import logging
import os
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from streamcab.cli.notice import loading
from streamcab.cli.options import (
    Command,
    backend_maker,
    backend_option,
    channel_option,
    compute_option,
    config_option,
    gate_of,
    gate_option,
    json_option,
    load_checkpoint,
    model_option,
    option,
    precision_option,
    read_again,
    stop_on_signals,
    threads_option,
)
from streamcab.errors import StreamcabError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamcab.daemon.settings import Settings
    from streamcab.feed.curve import ServerKeys
    from streamcab.ops.pseudonyms import Pseudonyms
    from streamcab.source import Source

log = logging.getLogger("streamcab")


@click.command(cls=Command)
@option("--device", multiple=True, help="Microphone, by index or part of its name; repeatable.")
@option("--file", "files", multiple=True, type=click.Path(path_type=Path), help="Audio file; repeatable.")
@option(
    "--stdin", type=click.Choice(["wav", "s16le", "f32le"]), help="Samples from standard input, in this form."
)
@option(
    "--rtp", multiple=True, metavar="HOST:PORT", help="Receive RTP here, any number of calls; repeatable."
)
@option(
    "--sdp", type=click.Path(path_type=Path), help="SDP file that says payload types (and addresses) of RTP."
)
@option(
    "--pt", multiple=True, metavar="N=CODEC/HZ", help="RTP payload type, e.g. 97=opus/48000/2; repeatable."
)
@option(
    "--allow", multiple=True, metavar="CIDR", help="Network that may send RTP; repeatable. Without it: all."
)
@option("--name-map", type=click.Path(path_type=Path), help="CSV of address,port,ssrc,name for RTP calls.")
@option("--lookback-ms", type=click.FloatRange(0, 1000), default=60.0, help="How late an RTP packet may be.")
@option(
    "--idle",
    type=click.FloatRange(0.5, 86_400),
    default=10.0,
    help="Seconds of silence that end an RTP call.",
)
@option("--rate", type=click.IntRange(2000, 768_000), help="Hz of raw standard input.")
@option("--channels", type=click.IntRange(1, 64), default=1, help="Channels of raw standard input.")
@channel_option
@option("--fast", is_flag=True, help="Read files as fast as they can be classified, not as live.")
@option("--loop", is_flag=True, help="Begin files again when they end.")
@model_option
@compute_option
@backend_option
@precision_option
@threads_option
@gate_option
@option("--window", type=click.FloatRange(0.1, 3600), default=30.0, help="Seconds that an answer rests on.")
@option(
    "--every",
    type=click.FloatRange(0.025, 3600),
    default=0.1,
    help="Seconds between predictions of a stream.",
)
@option(
    "--max-lag",
    type=click.FloatRange(0.5, 9),
    default=2.0,
    help="Seconds after which a live stream skips to now.",
)
@option(
    "--max-streams",
    type=click.IntRange(1, 1_000_000),
    help="Streams at once; more are refused. [64, RTP: 1200]",
)
@option("--endpoint", default="tcp://127.0.0.1:5557", help="Where the feed is published.")
@option("--keys", type=click.Path(path_type=Path), help="Folder of CURVE keys: serve those in its `allow`.")
@option("--ipc-group", metavar="GROUP", help="Group that may listen at an ipc:// endpoint.")
@option("--attention/--no-attention", default=True, help="Publish the attention of the classifiers.")
@option("--view/--no-view", default=None, help="Draw the feed; without it: when the output is a terminal.")
@option("--quiet", is_flag=True, help="Show nothing: for services, and for thousands of calls.")
@json_option
@option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="warning",
    help="Least level of the log.",
)
@option("--log-file", type=click.Path(path_type=Path), help="Where the log goes; without it to stderr.")
@option(
    "--log-format",
    type=click.Choice(["auto", "text", "json"]),
    default="auto",
    help="auto: as the journal wants it where stderr is the journal, else text.",
)
@option("--jsonl", type=click.Path(path_type=Path, dir_okay=False), help="Write the feed to this file too.")
@option(
    "--jsonl-max-mb", type=click.FloatRange(0.01, 1_000_000), default=100.0, help="Size of one such file."
)
@option(
    "--jsonl-keep",
    type=click.IntRange(0, 10_000),
    default=5,
    help="Older ones that are kept, as FILE.1 and on.",
)
@option("--hash-names", is_flag=True, help="Call streams by hashes of their names, in feed, log and files.")
@option(
    "--hash-salt",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of the secret salt of the hashes; without it one of this installation.",
)
@option(
    "--record",
    type=click.Path(path_type=Path, file_okay=False),
    help="WRITE AUDIO of every stream, as FLAC, here.",
)
@option(
    "--record-max-gb",
    type=click.FloatRange(0.001, 1_000_000),
    default=1.0,
    help="Of all recordings together.",
)
@option(
    "--record-max-days",
    type=click.FloatRange(0.001, 36_500),
    default=7.0,
    help="After which a recording is deleted.",
)
@option(
    "--record-min-free-gb",
    type=click.FloatRange(0, 1_000_000),
    default=1.0,
    help="Nothing is recorded while the disk has less free.",
)
@config_option
@click.pass_context
def listen(ctx: click.Context, /, **o: Any) -> None:
    """Listen to microphones, files, standard input or telephone calls, and publish which accent is heard.

    \b
    streamcab listen --device 0
    streamcab listen --file call.wav --file other.flac
    streamcab listen --rtp 127.0.0.1:5004
    arecord -f S16_LE -r 16000 | streamcab listen --stdin wav
    """
    if not o["quiet"]:
        loading()
    from streamcab.daemon.reload import Reload, limits
    from streamcab.daemon.session import listen as run
    from streamcab.daemon.sidecars import Extras
    from streamcab.health.jsonl import JsonLinesFile
    from streamcab.ops import logs
    from streamcab.ops.pseudonyms import Pseudonyms
    from streamcab.record.retention import Retention

    again = threading.Event()
    with ExitStack() as around:
        # Before anything takes time: a SIGHUP meanwhile must not be the end.
        stop = around.enter_context(stop_on_signals(again))
        journal = logs.start(o["log_level"], logs.form_for(o["log_format"], o["log_file"]), o["log_file"])
        veil = Pseudonyms.load(o["hash_salt"]) if o["hash_names"] else None
        if veil is not None:
            veil.know(*o["device"], *o["files"], *([o["sdp"]] if o["sdp"] else []))
            journal.learn, journal.scrub = veil.learn, veil.scrub
            around.enter_context(_hidden_by(veil))
        sources = _sources(o)
        if not sources:
            raise click.UsageError(
                "Nothing to listen to: give --device, --file, --rtp or --stdin (see streamcab devices)."
            )
        if o["record"] and o["fast"]:
            raise click.UsageError("--record with --fast: the files are there already; leave one out.")
        extras = Extras(
            again=again,
            reload=Reload(o, lambda: read_again(ctx), journal),
            shelf=Retention(o["record"], limits(o)) if o["record"] else None,
            lines=JsonLinesFile(o["jsonl"], round(o["jsonl_max_mb"] * 1e6), o["jsonl_keep"])
            if o["jsonl"]
            else None,
        )
        checkpoint, device = load_checkpoint(o["model"], o["compute"])
        backend = backend_maker(checkpoint, device, o["backend"], o["precision"], o["threads"])
        if stop.is_set():
            return
        run(
            checkpoint,
            backend,
            sources,
            _settings(o, veil),
            stop,
            extras,
            view=o["view"],
            as_json=o["as_json"],
            quiet=o["quiet"],
        )


@contextmanager
def _hidden_by(veil: "Pseudonyms") -> "Iterator[None]":
    """Errors leave this block with their names hidden, those that nobody foresaw through the log."""
    try:
        yield
    except StreamcabError as error:
        raise veil.cleaned(error) from None
    except (click.ClickException, click.exceptions.Exit, BrokenPipeError):
        raise
    except Exception:
        log.exception("an error inside streamcab")
        raise SystemExit(1) from None


def _settings(o: dict[str, Any], veil: "Pseudonyms | None") -> "Settings":
    from streamcab.daemon.settings import Settings

    return Settings(
        endpoint=o["endpoint"],
        window_s=o["window"],
        every_s=o["every"],
        max_lag_s=o["max_lag"],
        max_streams=_max_streams(o),
        gate=gate_of(o["gate"]),
        attention=o["attention"],
        keys=_server_keys(o["keys"]),
        ipc_group=o["ipc_group"],
        veil=veil,
    )


def _server_keys(folder: Path | None) -> "ServerKeys | None":
    if folder is None:
        return None
    from streamcab.feed.curve import ServerKeys

    return ServerKeys(folder, os.environ.get("CREDENTIALS_DIRECTORY"))


def _max_streams(o: dict[str, Any]) -> int:
    return int(o["max_streams"] or (1200 if o["rtp"] or o["sdp"] else 64))


def _sources(o: dict[str, Any]) -> "list[Source]":
    from streamcab.source.file import AudioFile
    from streamcab.source.microphone import Microphone
    from streamcab.source.stdin import Stdin

    pace: Literal["live", "fast"] = "fast" if o["fast"] else "live"
    sources: list[Source] = [Microphone(int(d) if d.isdigit() else d, o["channel"]) for d in o["device"]]
    sources += [AudioFile(file, pace, o["channel"], loop=o["loop"]) for file in o["files"]]
    if o["stdin"]:
        if o["stdin"] != "wav" and o["rate"] is None:
            raise click.UsageError(f"--stdin {o['stdin']} is raw: say its --rate.")
        sources.append(Stdin(o["stdin"], o["rate"], o["channels"], o["channel"]))
    if o["rtp"] or o["sdp"]:
        from streamcab.source.rtp import RtpSource

        sources.append(
            RtpSource(
                o["rtp"],
                max_streams=_max_streams(o),
                allow=o["allow"],
                payload_types=o["pt"],
                sdp=o["sdp"],
                name_map=o["name_map"],
                lookback_ms=o["lookback_ms"],
                idle_s=o["idle"],
                channel=o["channel"],
            )
        )
    return sources
