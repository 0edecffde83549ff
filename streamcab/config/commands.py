"""The settings of the commands beside `listen`, and of which command each tree is.

Words that are no settings, such as the files of `classify`, are the commands' own.
"""

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from streamcab.config.address import HostPort
from streamcab.config.calls import SinkQueue
from streamcab.config.files import Every, JsonLines, Last
from streamcab.config.setting import Section, setting, settings_of
from streamcab.config.tree import Backend, Channel, Compute, Gate, Json, Listen, Model, Threads, View
from streamcab.config.web import PAGE, Cert, CertKey, Hosts, Token

METRICS = HostPort("127.0.0.1:9464")
Key = Annotated[Path, setting("Your secret CURVE key, NAME.key_secret, for a feed with keys.")]
ServerKey = Annotated[Path, setting("Public key of that feed, server.key.")]
Streams = Annotated[tuple[str, ...], setting("Only this stream; repeatable.", metavar="NAME")]
JsonObject = Annotated[bool, setting("Print one JSON object.")]


class Demo(Section, frozen=True):
    """Settings of `streamcab demo`."""

    model: Model | None = None
    compute: Compute = "auto"
    backend: Backend = "auto"
    threads: Threads | None = None
    clips: (
        Annotated[
            Path,
            setting("Folder of audio files to play.", unset="the bundled clips"),
        ]
        | None
    ) = None
    endpoint: Annotated[str, setting("Where the demo publishes its feed.")] = "tcp://127.0.0.1:*"
    web: (
        Annotated[HostPort, setting("Serve a page of the demo at this address.", unset="any free port")]
        | None
    ) = None
    view: View | None = None


class Watch(Section, frozen=True):
    """Settings of `streamcab watch`."""

    stream: Streams = ()
    every: Annotated[
        float, setting("Time between lines without a terminal.", unit="s", least=0, most=3600)
    ] = 1.0
    key: Key | None = None
    server_key: ServerKey | None = None
    json: Json = False


class Web(Section, frozen=True):
    """Settings of `streamcab web`."""

    listen: Annotated[HostPort, setting("Address to serve at; port 0: any free port.")] = PAGE
    web_host: Hosts = ()
    web_token: Token | None = None
    web_cert: Cert | None = None
    web_key: CertKey | None = None
    store: (
        Annotated[str, setting("The store of calls, for the history: a file, or a URL.", metavar="FILE|URL")]
        | None
    ) = None
    key: Key | None = None
    server_key: ServerKey | None = None


class Classify(Section, frozen=True):
    """Settings of `streamcab classify`."""

    model: Model | None = None
    compute: Compute = "auto"
    gate: Gate | None = None
    channel: Channel = "mix"
    threads: Threads | None = None
    json: Json = False
    data: Annotated[
        tuple[str, ...],
        setting("More of what FILES can be; repeatable.", metavar="PATH"),
    ] = ()
    out: (
        Annotated[
            Path,
            setting("Write a table: NAME.csv, NAME.jsonl, NAME.parquet, or a folder of Parquet parts."),
        ]
        | None
    ) = None
    resume: Annotated[bool, setting("Continue what an earlier run with the same --out began.")] = False
    jobs: Annotated[int, setting("Processes; 0: one for each core.", least=0)] = 1
    segments: (
        Annotated[
            float,
            setting("Answer every so many seconds of a file by themselves.", unit="s", least=1, most=86_400),
        ]
        | None
    ) = None
    ray: (
        Annotated[
            str,
            setting("Work on a cluster of Ray: its HOST:PORT, or local.", metavar="ADDRESS"),
        ]
        | None
    ) = None
    explain: (
        Annotated[
            Path,
            setting(
                "Explain the answer to each file in this folder: JSON, SVG, TextGrid.",
                metavar="FOLDER",
                path="folder",
            ),
        ]
        | None
    ) = None


class Verify(Section, frozen=True):
    """Settings of `streamcab verify`."""

    model: Model | None = None
    compute: Compute = "auto"
    channel: Channel = "mix"
    threads: Threads | None = None
    seed: Annotated[int, setting("Random seed of the chunks.")] = 0


class Status(Section, frozen=True):
    """Settings of `streamcab status`."""

    wait: Annotated[float, setting("How long to wait for an answer.", unit="s", least=0.1, most=60)] = 5.0
    json: JsonObject = False
    key: Key | None = None
    server_key: ServerKey | None = None


class Doctor(Section, frozen=True):
    """Settings of `streamcab doctor`."""

    json: Json = False


class Metrics(Section, frozen=True):
    """Settings of `streamcab metrics`."""

    listen: Annotated[HostPort, setting("Address to serve at; port 0: any free port.")] = METRICS
    expose: Annotated[bool, setting("Serve other machines too, without encryption or authentication.")] = (
        False
    )
    key: Key | None = None
    server_key: ServerKey | None = None


class Bridge(Section, frozen=True):
    """Settings of `streamcab bridge`."""

    broker: Annotated[HostPort, setting("The MQTT broker.")] = HostPort("127.0.0.1:1883")
    username: Annotated[str, setting("User name at the broker.", metavar="NAME")] | None = None
    password_file: Annotated[Path, setting("File that contains the password.")] | None = None
    tls: Annotated[bool, setting("Use TLS, and verify the broker's certificate.")] = False
    ca: Annotated[Path, setting("CA certificates for that; implies --tls.")] | None = None
    base: Annotated[str, setting("First part of the topics; unique for each daemon at a broker.")] = (
        "streamcab"
    )
    every: Annotated[float, setting("Time between messages of a stream.", unit="s", least=0.1, most=3600)] = (
        1.0
    )
    discovery: Annotated[str, setting("Discovery prefix of Home Assistant; empty: no discovery.")] = (
        "homeassistant"
    )
    collector: Annotated[
        str, setting("The OpenTelemetry collector that takes OTLP over HTTP.", metavar="URL")
    ] = "http://127.0.0.1:4318"
    key: Key | None = None
    server_key: ServerKey | None = None


class FeedLog(Section, frozen=True):
    """Settings of `streamcab log`."""

    out: Annotated[Path, setting("File to write.", path="file")]
    max_mb: Annotated[
        float, setting("Size at which the file is rotated.", unit="MB", least=0.01, most=1_000_000)
    ] = JsonLines().jsonl_max_mb
    every: Every = 0.0
    last: Last = False
    keep: Annotated[
        int, setting("Number of older files to keep, as FILE.1 and on.", least=0, most=10_000)
    ] = JsonLines().jsonl_keep
    kind: Annotated[
        tuple[str, ...],
        setting("Only prediction, status, daemon or model; repeatable.", metavar="KIND"),
    ] = ()
    stream: Streams = ()
    key: Key | None = None
    server_key: ServerKey | None = None


class Calls(Section, frozen=True):
    """Settings of `streamcab calls`."""

    store: Annotated[str, setting("The store: a SQLite file, or a URL of PostgreSQL.", metavar="FILE|URL")]
    day: Annotated[str, setting("Only calls that began on this day.", metavar="YYYY-MM-DD")] | None = None
    since: (
        Annotated[
            str,
            setting(
                "Only calls that began at this time or later: 2026-11-30, 2026-11-30T14:00, or 7d, 12h ago."
            ),
        ]
        | None
    ) = None
    until: Annotated[str, setting("Only calls that began before this time.")] | None = None
    accent: Annotated[str, setting("Only this answer; - for calls without one.", metavar="LABEL")] | None = (
        None
    )
    source: Annotated[str, setting("Only sources whose description holds this.")] | None = None
    name: Annotated[str, setting("Only this name or pseudonym; * and ? stand for anything.")] | None = None
    party: (
        Annotated[str, setting("Only calls from or to this number or pseudonym, where a platform says.")]
        | None
    ) = None
    state: Annotated[Literal["open", "ended", "interrupted"], setting("Only calls in this state.")] | None = (
        None
    )
    zone: (
        Annotated[str, setting("Time zone of days and times.", metavar="NAME", unset="this machine's")] | None
    ) = None


class Queue(Section, frozen=True):
    """Settings of `streamcab sinks`."""

    sink_queue: SinkQueue | None = None


class Keys(Section, frozen=True):
    """Settings of `streamcab keys`."""

    keys: (
        Annotated[
            Path,
            setting(
                "Folder of the keys.",
                path="folder",
                unset="~/.config/streamcab/keys",
            ),
        ]
        | None
    ) = None


class Training(Section, frozen=True):
    """Settings of `streamcab train`, `evaluate` and `reproduce`."""

    compute: Compute = "auto"


TREES: dict[str, type[msgspec.Struct]] = {
    "listen": Listen,
    "watch": Watch,
    "web": Web,
    "demo": Demo,
    "classify": Classify,
    "verify": Verify,
    "status": Status,
    "doctor": Doctor,
    "metrics": Metrics,
    "bridge": Bridge,
    "log": FeedLog,
    "calls": Calls,
    "sinks": Queue,
    "keys": Keys,
    "train": Training,
}
"""The settings of each command."""


def known_names() -> set[str]:
    """Return the names of all settings of all commands."""
    return {name for tree in TREES.values() for name in settings_of(tree)}
