"""The settings of `listen`, and the sections that other commands share with it.

Owns every name, range and default of a daemon: `daemon/settings.py`, `source/rtp.py` and `classifier.py` take theirs
from here. Knows nothing of how a setting is carried out.
"""

from pathlib import Path
from typing import Annotated, Literal

from streamcab.config.calls import Sinks, Store
from streamcab.config.files import JsonLines, Log, Recordings
from streamcab.config.media import Media
from streamcab.config.setting import Section, setting
from streamcab.config.shards import Shards
from streamcab.config.web import Page

ENDPOINT = "tcp://127.0.0.1:5557"
"""Where a feed is, unless told otherwise."""
STREAMS, CALLS = 64, 1200
"""Streams at a time where `max_streams` is not set: of sources whose channels are streams, and of calls."""

Model = Annotated[Path, setting("Checkpoint.", unset="the bundled model")]
Compute = Annotated[str, setting("auto, cpu, cuda or cuda:N.")]
Backend = Annotated[
    Literal["auto", "torch", "openvino"],
    setting("Backend of the network; auto: openvino if it is installed and the device is a CPU."),
]
Precision = Annotated[
    Literal["auto", "f32", "bf16"],
    setting("bf16 is faster and rounds more; auto: bf16 where the processor computes in it, else f32."),
]
Threads = Annotated[
    int,
    setting("Threads of the network.", least=1, unset="openvino: 2 if there are 2 cores; torch: 1"),
]
Gate = Annotated[
    Literal["on", "off"],
    setting(
        "Exclude intervals without speech. off: as in the paper.",
        unset="as the model was trained",
    ),
]
Channel = Annotated[str, setting("mix, each (every channel by itself), left, right, or a number from 1 on.")]
Json = Annotated[bool, setting("Print JSON, one object per line.")]
View = Annotated[
    bool,
    setting("Draw the feed.", unset="when the output is a terminal"),
]


class Sources(Section, frozen=True):
    """Sources of audio."""

    device: Annotated[
        tuple[str, ...], setting("Microphone, by index or part of its name; repeatable.", metavar="NAME")
    ] = ()
    file: Annotated[tuple[Path, ...], setting("Audio file; repeatable.")] = ()
    url: Annotated[
        tuple[str, ...],
        setting("Stream of the net: rtsp://, or http(s):// of Icecast or HLS; repeatable.", metavar="URL"),
    ] = ()
    stdin: (
        Annotated[
            Literal["wav", "s16le", "f32le"], setting("Read samples from standard input, in this format.")
        ]
        | None
    ) = None
    rate: (
        Annotated[int, setting("Sampling rate of raw standard input.", unit="Hz", least=2000, most=768_000)]
        | None
    ) = None
    channels: Annotated[int, setting("Channels of raw standard input.", least=1, most=64)] = 1
    channel: Channel = "mix"
    fast: Annotated[bool, setting("Read files as fast as they can be classified, not as live.")] = False
    loop: Annotated[bool, setting("Restart files when they end.")] = False


class Rtp(Section, frozen=True):
    """Calls by RTP."""

    rtp: Annotated[
        tuple[str, ...],
        setting("Receive RTP at this address, any number of calls; repeatable.", metavar="HOST:PORT"),
    ] = ()
    sdp: Annotated[Path, setting("SDP file with the payload types (and addresses) of RTP.")] | None = None
    pt: Annotated[
        tuple[str, ...],
        setting("RTP payload type, e.g. 97=opus/48000/2; repeatable.", metavar="N=CODEC/HZ"),
    ] = ()
    allow: Annotated[
        tuple[str, ...],
        setting(
            "Network that may send calls; repeatable.",
            metavar="CIDR",
            unset="all",
            reload=True,
        ),
    ] = ()
    name_map: Annotated[Path, setting("CSV of address,port,ssrc,name for RTP calls.", reload=True)] | None = (
        None
    )
    lookback_ms: Annotated[
        float,
        setting(
            "How long to wait for a missing RTP packet; a call is delayed by as much while one is missing.",
            unit="ms",
            least=0,
            most=1000,
        ),
    ] = 60.0
    idle: Annotated[
        float,
        setting(
            "End an RTP call after this time without a packet, and another whose connection broke off.",
            unit="s",
            least=0.5,
            most=86_400,
            reload=True,
        ),
    ] = 10.0
    same_call: Annotated[
        Literal["never", "ssrc"],
        setting(
            "When a new SSRC from its address and port continues an RTP call: ssrc (a transfer), or never."
        ),
    ] = "never"
    workers: Annotated[
        str,
        setting("Processes that share out the calls; auto: one for every two cores.", metavar="N|auto"),
    ] = "1"


class Net(Section, frozen=True):
    """The model, its backend and its device."""

    model: Model | None = None
    compute: Compute = "auto"
    backend: Backend = "auto"
    precision: Precision = "f32"
    threads: Threads | None = None
    gate: Gate | None = None


class Answers(Section, frozen=True):
    """Predictions: window, rate and number of streams."""

    window: Annotated[float, setting("Length of the averaging window.", unit="s", least=0.1, most=3600)] = (
        30.0
    )
    every: Annotated[
        float,
        setting("Time between predictions of a stream.", unit="s", least=0.025, most=3600, reload=True),
    ] = 0.1
    max_lag: Annotated[
        float,
        setting(
            "Lag beyond which a live stream skips to the present.", unit="s", least=0.5, most=9, reload=True
        ),
    ] = 2.0
    max_streams: (
        Annotated[
            int,
            setting(
                "Streams at once; more are refused.",
                least=1,
                most=1_000_000,
                unset=f"as many as the sources have; with --channel each {STREAMS}, with calls {CALLS}",
            ),
        ]
        | None
    ) = None
    attention: Annotated[bool, setting("Publish the attention of the classifiers.")] = True
    voices: Annotated[
        int,
        setting(
            "Voices of a stream that are told apart, each with a window of its own; 1: as in the paper.",
            least=1,
            most=16,
        ),
    ] = 3


class Feed(Section, frozen=True):
    """The feed."""

    endpoint: Annotated[str, setting("Where the feed is published.")] = ENDPOINT
    keys: Annotated[Path, setting("Folder of CURVE keys; only keys in its `allow` are admitted.")] | None = (
        None
    )
    ipc_group: (
        Annotated[str, setting("Group that may listen at an ipc:// endpoint.", metavar="GROUP")] | None
    ) = None


class Screen(Section, frozen=True):
    """Output of this command."""

    view: View | None = None
    quiet: Annotated[bool, setting("Print nothing; for services and thousands of calls.")] = False
    json: Json = False


class Names(Section, frozen=True):
    """Pseudonyms of streams."""

    hash_names: Annotated[bool, setting("Replace stream names by hashes in feed, log and files.")] = False
    hash_salt: (
        Annotated[
            Path,
            setting(
                "File of the secret salt of the hashes.",
                path="file",
                unset="one of this installation",
            ),
        ]
        | None
    ) = None


class Listen(Section, frozen=True):
    """Settings of `streamcab listen`."""

    sources: Sources = Sources()
    rtp: Rtp = Rtp()
    media: Media = Media()
    net: Net = Net()
    answers: Answers = Answers()
    feed: Feed = Feed()
    screen: Screen = Screen()
    log: Log = Log()
    jsonl: JsonLines = JsonLines()
    store: Store = Store()
    sinks: Sinks = Sinks()
    names: Names = Names()
    recordings: Recordings = Recordings()
    page: Page = Page()
    shards: Shards = Shards()

    @property
    def max_streams(self) -> int:
        """Streams at once; by default as many as the sources have, where that is known."""
        if self.answers.max_streams is not None:
            return self.answers.max_streams
        if self.rtp.rtp or self.rtp.sdp or self.media.media or self.media.audiosocket:
            return CALLS
        s = self.sources
        own = len(s.device) + len(s.file) + len(s.url) + (s.stdin is not None)
        return own if own and s.channel != "each" else max(own, STREAMS)
