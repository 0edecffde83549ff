"""The command line: options in, exit codes out. The only file that knows of click.

Every command imports what it needs when it runs, so that `--help` and `watch` start without torch. Failures of the tree
in `errors.py` become one line here; nothing else turns errors into text.

Exit codes: 0 done, or stopped by a signal; 1 it failed; 2 a wrong word on the command line, in the environment or in the
configuration; 75 a source was lost for good.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from streamcab import __version__
from streamcab.errors import ConfigError, StreamcabError

if TYPE_CHECKING:
    import threading

    from streamcab.source import Source

F = TypeVar("F", bound=Callable[..., Any])

# The net is a millisecond of work: a second thread of BLAS costs more than it brings.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Read by the tests and the shell, not by an option.
OTHER_VARIABLES = {"corpus"}


class _Failure(click.ClickException):
    def __init__(self, error: StreamcabError) -> None:
        super().__init__(str(error))
        self.exit_code = error.exit_code


class _Command(click.Command):
    """A command whose failures are one line."""

    def invoke(self, ctx: click.Context) -> Any:
        from streamcab.config import check_environment

        try:
            check_environment(os.environ, _option_names() | OTHER_VARIABLES)
            return super().invoke(ctx)
        except StreamcabError as error:
            raise _Failure(error) from error
        except BrokenPipeError:
            # The reader of our output went away: nothing to say, and nobody to say it to.
            sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for the interpreter's own flush
            ctx.exit(0)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        try:
            return super().make_context(*args, **kwargs)
        except StreamcabError as error:
            raise _Failure(error) from error


class _Group(click.Group):
    command_class = _Command


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="streamcab")
def main() -> None:
    """Which accent is on this line, now? Live, for one microphone or a thousand calls.

    Every option can also stand in the environment (STREAMCAB_WINDOW=20) or in a TOML file (--config listen.toml).
    """


def _spelled(param: click.Parameter) -> str:
    """The name of an option as users write it, dashes as underscores."""
    long = next((o for o in param.opts if o.startswith("--")), param.name or "")
    return long.lstrip("-").replace("-", "_")


def _option_names() -> set[str]:
    return {_spelled(p) for command in main.commands.values() for p in command.params}


def option(*names: str, **kwargs: Any) -> Callable[[F], F]:
    """A click option that the environment can set too."""
    long = next(n for n in names if n.startswith("--")).split("/")[0]
    variable = "STREAMCAB_" + long.lstrip("-").replace("-", "_").upper()
    return click.option(*names, envvar=variable, show_default=True, **kwargs)


def _load_config(ctx: click.Context, _param: click.Parameter, value: Path | None) -> None:
    if value is not None:
        from streamcab.config import read_settings

        params = {_spelled(p): p for p in ctx.command.params if p.name != "config"}
        for key, setting in read_settings(value, params).items():
            p = params[key]
            # One device or file need not be a list.
            single = isinstance(p, click.Option) and p.multiple and not isinstance(setting, list)
            ctx.default_map = {**(ctx.default_map or {}), p.name: [setting] if single else setting}


config_option = option(
    "--config",
    type=click.Path(path_type=Path),
    is_eager=True,
    expose_value=False,
    callback=_load_config,
    help="TOML file with any of these options.",
)
model_option = option("--model", type=click.Path(path_type=Path), help="Checkpoint; without it the bundled model.")
compute_option = option("--compute", default="auto", help="auto, cpu, cuda or cuda:N.")
gate_option = option(
    "--gate",
    type=click.Choice(["on", "off"]),
    help="Whether intervals without speech are left out; without it as the model was trained. off: as in the paper.",
)
channel_option = option("--channel", default="mix", help="mix, left, right, or a number from 1 on.")
threads_option = option("--threads", type=click.IntRange(1), default=1, help="Threads of torch.")
json_option = option("--json", "as_json", is_flag=True, help="JSON, one object a line.")
endpoint_argument = click.argument("endpoint", default="tcp://127.0.0.1:5557")


@main.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@model_option
@compute_option
@gate_option
@channel_option
@threads_option
@json_option
@config_option
def classify(
    files: tuple[Path, ...],
    model: Path | None,
    compute: str,
    gate: str | None,
    channel: str,
    threads: int,
    as_json: bool,
) -> None:
    """The answer for whole FILES: the mean over all their voiced intervals."""
    classifier = _classifier(model, compute, threads)
    from streamcab.message import encode
    from streamcab.source.file import read_audio

    failed = 0
    for file in files:
        try:
            samples, rate = read_audio(file, channel)
            answer = classifier.classify(samples, rate, gate=_gate(gate), name=str(file))
        except StreamcabError as error:
            # The other files can still be answered.
            click.echo(f"Error: {error}", err=True)
            failed += 1
            continue
        if as_json:
            click.echo(encode(answer).decode())
        elif answer.top is None:
            click.echo(f"{file}: no speech")
        else:
            probs = "  ".join(f"{label} {p:.2f}" for label, p in answer.probs.items())
            click.echo(f"{file}: {answer.top}  ({probs}; {answer.voiced_s:.1f} s voiced)")
    if failed:
        sys.exit(1)


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@model_option
@compute_option
@channel_option
@threads_option
@option("--seed", type=int, default=0, help="Of the random chunks.")
@config_option
def verify(file: Path, model: Path | None, compute: str, channel: str, threads: int, seed: int) -> None:
    """Show on FILE that the streamed answer is the offline one. Exit code 1 if any probability differs by 1e-5."""
    classifier = _classifier(model, compute, threads)
    from streamcab.source.file import read_audio
    from streamcab.verify import TOLERANCE
    from streamcab.verify import verify as compare

    samples, rate = read_audio(file, channel)
    verdict = compare(classifier, samples, rate, seed)
    click.echo(
        f"{file}: {verdict.intervals} intervals ({verdict.voiced} voiced), streamed in {verdict.chunks} random chunks; "
        f"largest difference of a probability from the offline answer: {verdict.difference:.1e} "
        f"({'equal' if verdict.equal else 'NOT EQUAL'} within {TOLERANCE:.0e})"
    )
    if not verdict.equal:
        sys.exit(1)


@main.command()
def devices() -> None:
    """The microphones that `listen --device` can mean."""
    from streamcab.source.microphone import list_devices

    found = list_devices()
    if not found:
        click.echo("No microphone found. If one is plugged in: is this user in the group `audio`?", err=True)
        sys.exit(1)
    for d in found:
        mark = "*" if d.default else " "
        click.echo(f"{mark} {d.index:3d}  {d.name}  ({d.channels} channels, {d.rate:g} Hz, {d.host_api})")


@main.command()
@option("--device", multiple=True, help="Microphone, by index or part of its name; repeatable.")
@option("--file", "files", multiple=True, type=click.Path(path_type=Path), help="Audio file; repeatable.")
@option("--stdin", type=click.Choice(["wav", "s16le", "f32le"]), help="Samples from standard input, in this form.")
@option("--rtp", multiple=True, metavar="HOST:PORT", help="Receive RTP here, any number of calls; repeatable.")
@option("--sdp", type=click.Path(path_type=Path), help="SDP file that says payload types (and addresses) of RTP.")
@option("--pt", multiple=True, metavar="N=CODEC/HZ", help="RTP payload type, e.g. 97=opus/48000/2; repeatable.")
@option("--allow", multiple=True, metavar="CIDR", help="Network that may send RTP; repeatable. Without it: all.")
@option("--name-map", type=click.Path(path_type=Path), help="CSV of address,port,ssrc,name for RTP calls.")
@option("--lookback-ms", type=click.FloatRange(0, 1000), default=60.0, help="How late an RTP packet may be.")
@option("--idle", type=click.FloatRange(0.5, 86_400), default=10.0, help="Seconds of silence that end an RTP call.")
@option("--rate", type=click.IntRange(2000, 768_000), help="Hz of raw standard input.")
@option("--channels", type=click.IntRange(1, 64), default=1, help="Channels of raw standard input.")
@channel_option
@option("--fast", is_flag=True, help="Read files as fast as they can be classified, not as live.")
@option("--loop", is_flag=True, help="Begin files again when they end.")
@model_option
@compute_option
@threads_option
@gate_option
@option("--window", type=click.FloatRange(0.1, 3600), default=30.0, help="Seconds that an answer rests on.")
@option("--every", type=click.FloatRange(0.025, 3600), default=0.1, help="Seconds between predictions of a stream.")
@option("--max-lag", type=click.FloatRange(0.5, 9), default=2.0, help="Seconds behind which a live stream skips to now.")
@option("--max-streams", type=click.IntRange(1, 1_000_000), help="Streams at once; more are refused. [64, RTP: 1200]")
@option("--endpoint", default="tcp://127.0.0.1:5557", help="Where the feed is published.")
@option("--keys", type=click.Path(path_type=Path), help="Folder of CURVE keys: serve those in its `allow`.")
@option("--ipc-group", metavar="GROUP", help="Group that may listen at an ipc:// endpoint.")
@option("--attention/--no-attention", default=True, help="Publish the attention of the classifiers.")
@option("--view/--no-view", default=None, help="Draw the feed; without it: when the output is a terminal.")
@json_option
@option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="warning", help="On stderr.")
@config_option
def listen(**o: Any) -> None:
    """Listen to microphones, files or standard input, and publish who is heard.

    \b
    streamcab listen --device 0
    streamcab listen --file call.wav --file other.flac
    streamcab listen --rtp 127.0.0.1:5004
    arecord -f S16_LE -r 16000 | streamcab listen --stdin wav
    """
    from streamcab.run import listen as run

    sources = _sources(o)
    if not sources:
        raise click.UsageError("Nothing to listen to: give --device, --file, --rtp or --stdin (see streamcab devices).")
    _start_logging(o["log_level"])
    checkpoint, device = _checkpoint(o["model"], o["compute"], o["threads"])
    with _stop_on_signals() as stop:
        run(
            checkpoint,
            device,
            sources,
            _settings(o),
            stop,
            view=o["view"],
            as_json=o["as_json"],
        )


@main.command()
@endpoint_argument
@option("--stream", "streams", multiple=True, help="Only this stream; repeatable.")
@option("--every", type=click.FloatRange(0.0, 3600), default=1.0, help="Seconds between lines of a stream, if no terminal.")
@option("--key", type=click.Path(path_type=Path), help="Your secret CURVE key, NAME.key_secret.")
@option("--server-key", type=click.Path(path_type=Path), help="Public key of that feed, server.key.")
@json_option
@config_option
def watch(
    endpoint: str,
    streams: tuple[str, ...],
    every: float,
    key: Path | None,
    server_key: Path | None,
    as_json: bool,
) -> None:
    """Draw the feed of a daemon at ENDPOINT, on any machine. Without a terminal: lines."""
    from streamcab.keys import ClientKeys
    from streamcab.run import watch as run

    if (key is None) != (server_key is None):
        raise click.UsageError("--key and --server-key go together: yours, and that of the feed.")
    keys = ClientKeys.load(key, server_key) if key and server_key else None
    with _stop_on_signals() as stop:
        run(endpoint, list(streams), stop, as_json=as_json, every_s=every, keys=keys)


@main.command()
@model_option
@compute_option
@threads_option
@option("--clips", type=click.Path(path_type=Path), help="Folder of audio files to play; without it the bundled ones.")
@option("--endpoint", default="tcp://127.0.0.1:*", help="Where the demo publishes its feed.")
@option("--view/--no-view", default=None, help="Draw the feed; without it: when the output is a terminal.")
@config_option
def demo(
    model: Path | None, compute: str, threads: int, clips: Path | None, endpoint: str, view: bool | None
) -> None:
    """Play short clips of synthetic speech as live calls, and watch them being classified."""
    from streamcab.run import demo as run

    checkpoint, device = _checkpoint(model, compute, threads)
    with _stop_on_signals() as stop:
        run(checkpoint, device, clips, endpoint, stop, view=view)


@main.command()
@click.option("--data", required=True, type=click.Path(path_type=Path), help="Manifest: CSV with path, label, speaker.")
@click.option("--config", required=True, type=click.Path(path_type=Path), help="Recipe, e.g. configs/live.toml.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the run.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@click.option("--allow-shared-speakers", is_flag=True, help="Split by clip, as the paper does; scores will say so.")
@option("--compute", default="auto", help="auto, cpu, cuda or cuda:N.")
@click.option("--threads", type=click.IntRange(1), help="Threads of torch; without it all cores.")
def train(
    data: Path, config: Path, out: Path, resume: bool, allow_shared_speakers: bool, compute: str, threads: int | None
) -> None:
    """Train a CAB-CNN on a corpus; speakers never stand in two splits unless you say so."""
    from streamcab.compute import device_for

    try:
        from streamcab_train.run import train as run
    except ModuleNotFoundError as error:
        raise ConfigError(f"training is not installed ({error.name} is missing): install streamcab from its checkout") from None
    run(
        data,
        config,
        out,
        resume=resume,
        allow_shared_speakers=allow_shared_speakers,
        device=device_for(compute),
        threads=threads,
    )


def _gate(word: str | None) -> bool | None:
    return None if word is None else word == "on"


def _checkpoint(model: Path | None, compute: str, threads: int) -> tuple[Any, str]:
    import torch

    from streamcab import checkpoint
    from streamcab.compute import device_for

    torch.set_num_threads(threads)
    return checkpoint.load(model or checkpoint.bundled()), device_for(compute)


def _classifier(model: Path | None, compute: str, threads: int) -> Any:
    from streamcab.classifier import Classifier

    return Classifier(*_checkpoint(model, compute, threads))


def _settings(o: dict[str, Any]) -> Any:
    from streamcab.daemon import Settings

    return Settings(
        endpoint=o["endpoint"],
        window_s=o["window"],
        every_s=o["every"],
        max_lag_s=o["max_lag"],
        max_streams=_max_streams(o),
        gate=_gate(o["gate"]),
        attention=o["attention"],
        keys=_server_keys(o["keys"]),
        ipc_group=o["ipc_group"],
    )


def _server_keys(folder: Path | None) -> Any:
    if folder is None:
        return None
    from streamcab.keys import ServerKeys

    return ServerKeys(folder, os.environ.get("CREDENTIALS_DIRECTORY"))


def _max_streams(o: dict[str, Any]) -> int:
    return int(o["max_streams"] or (1200 if o["rtp"] or o["sdp"] else 64))


def _sources(o: dict[str, Any]) -> "list[Source]":
    from streamcab.source.file import AudioFile
    from streamcab.source.microphone import Microphone
    from streamcab.source.stdin import Stdin

    sources: list[Source] = []
    for device in o["device"]:
        sources.append(Microphone(int(device) if device.isdigit() else device, o["channel"]))
    for file in o["files"]:
        sources.append(AudioFile(file, "fast" if o["fast"] else "live", o["channel"], loop=o["loop"]))
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


def _start_logging(level: str) -> None:
    import logging

    logging.basicConfig(
        level=level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"
    )


@contextmanager
def _stop_on_signals() -> "Iterator[threading.Event]":
    """An event that SIGINT and SIGTERM set; what runs returns by itself then, and the exit code is 0."""
    import threading

    stop = threading.Event()
    before = {s: signal.signal(s, lambda *_: stop.set()) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
