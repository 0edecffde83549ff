"""What the daemon says: the messages of the feed, as types.

Knows nothing of sockets, models or audio: a subscriber elsewhere imports this without torch or numpy.
The strings under the fields are the reference: tools/make_schema.py copies them into docs/reference/feed.schema.json,
and docs/reference/feed.md explains them. Added fields keep the version; a changed meaning is a new version.
Numbers are finite: JSON knows no NaN, it would become null and the message would be refused where it arrives.
"""

import re
from typing import Annotated, Literal

import msgspec

VERSION = "v1"
DAEMON = "daemon"  # reserved: the stream name under which the daemon speaks of itself

MOST = 2**53
"""The largest integer: JavaScript and many JSON readers know none beyond. Larger ones are refused where they arrive."""
Count = Annotated[int, msgspec.Meta(ge=-MOST, le=MOST)]

State = Literal["warming", "live", "silent", "lost", "ended"]
"""Of an answer."""
Hears = Literal["speech", "sound", "silence"]
SourceState = Literal["starting", "live", "silent", "stalled", "lost", "reconnecting", "ended"]
"""Of what the samples come from; source/line.py says how one follows another."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")


def valid_name(name: str) -> bool:
    """Whether `name` can name a stream: it becomes the middle of a topic, so it holds no slash and no space.

    The daemon's own name is taken.
    """
    return name != DAEMON and _NAME.fullmatch(name) is not None


def topic(stream: str, kind: str) -> str:
    """The first frame of a message, e.g. `v1/mic/prediction`."""
    return f"{VERSION}/{stream}/{kind}"


class Message(msgspec.Struct, kw_only=True, frozen=True):
    """What every message carries."""

    run: str = ""
    """Random id of this start of the daemon: a new one means a restart. Filled in by the publisher."""
    seq: Count = 0
    """Grows by one with each message under this topic: a gap is a loss. Filled in by the publisher."""
    stream: str
    """Name of the stream that this is about; `daemon` is the daemon itself."""
    time: float
    """Unix time in seconds. Of a prediction: when its last sample was captured. Else: when it was sent."""


class Prediction(Message, kw_only=True, frozen=True, tag="prediction", tag_field="kind"):
    """The answer for one stream now."""

    sample: Count
    """Samples of the stream heard so far, at `rate`, from its start: the newest one used is `sample` - 1."""
    rate: Count
    """Hz of the source."""
    labels: list[str]
    """All labels of the model, in the model's order."""
    probs: dict[str, float]
    """Mean of c_t over the voiced intervals of the window; empty while nothing voiced is in it."""
    now: dict[str, float]
    """The same over the newest second only; empty while nothing voiced is in it."""
    top: str | None
    """The label with the largest probability; None while nothing voiced is in the window."""
    confidence: float | None
    """The probability of `top`: how often such an answer is right, as far as the model's validation tells."""
    state: State
    """`warming` up, `live`, `silent` (nothing voiced in the window), `lost` (source gone), `ended`."""
    window_s: float
    """Seconds of the window that have been filled so far."""
    voiced_s: float
    """Voiced seconds in the window: what the answer rests on."""
    heard_s: float
    """Voiced seconds since the stream began."""
    level_db: float | None
    """Level of the newest intervals in dB relative to full scale; None for digital silence."""
    lag_ms: float
    """From the capture of the newest sample used to this message being sent."""
    lost_ms: float
    """Audio that was captured or announced, and never classified, since the stream began."""
    overflows: Count
    """How often the source or its ring overflowed."""
    attention: list[float] | None = None
    """Mean weight of each classifier over the window."""
    model: str
    """Hash of the checkpoint."""
    sure: bool | None = None
    """Whether `confidence` reaches the model's threshold; None without an answer, or without a threshold."""
    hears: Hears = "silence"
    """What the newest second holds: `speech`, `sound` that is no speech (music, tones, noise), or `silence`."""
    snr_db: float | None = None
    """Estimated level of the window's speech over the noise in its pauses, in dB; None until both are heard."""
    flaws: list[str] = []
    """What makes the window's speech hard to judge: `noisy` (below 15 dB), `narrow-band` (nothing above 2.3 kHz)."""


class Status(Message, kw_only=True, frozen=True, tag="status", tag_field="kind"):
    """How one stream's source is doing, once a second and at each change."""

    state: State
    """The same as in the predictions."""
    source: str
    """What the samples come from, in words, e.g. `microphone: USB Audio (48000 Hz)`."""
    rate: Count
    """Hz of the source."""
    captured_s: float
    """Seconds of audio captured since the stream began."""
    classified_s: float
    """Seconds of it that have been classified."""
    lag_ms: float
    """From the capture of the newest classified sample to now."""
    lost_ms: float
    """Audio that was captured or announced, and never classified, since the stream began."""
    overflows: Count
    """How often the source or its ring overflowed."""
    detail: str = ""
    """Why the state is what it is, when there is something to say."""
    source_state: SourceState = "live"
    """`starting`, `live`, `silent` (samples come, all zero), `stalled` (none come), `lost`, `reconnecting`, `ended`."""
    flaws: list[str] = []
    """What is wrong with the samples now: `clipping`, `offset` (a mean far from 0), `stuck`, `not-a-number`; and with
    the speech of the window: `noisy`, `narrow-band`."""
    speech_s: float = 0.0
    """Seconds of speech since the stream began."""
    hears: Hears = "silence"
    """What the newest second holds: `speech`, `sound` that is no speech (music, tones, noise), or `silence`."""
    snr_db: float | None = None
    """Estimated level of the window's speech over the noise in its pauses, in dB; None until both are heard."""


class DaemonStatus(Message, kw_only=True, frozen=True, tag="daemon", tag_field="kind"):
    """How the daemon is doing, once a second under the stream name `daemon`."""

    streams: Count
    """Streams that live now."""
    pass_ms: float
    """Milliseconds of the longest turn in the last second: newcomers, a pass of the net, what was told of it."""
    intervals_per_s: float
    """Intervals classified in the last second, of all streams together."""
    lost_ms: float
    """Audio lost in all streams since the start."""
    uptime_s: float
    """Seconds since the daemon's start."""
    counters: dict[str, Count] = {}
    """Counts of everything that is refused or dropped, by reason."""
    detail: str = ""
    """What an operator should know, when there is something to say."""


class ModelInfo(Message, kw_only=True, frozen=True, tag="model", tag_field="kind"):
    """Which model answers for a stream; sent at its start and to every late joiner."""

    model: str
    """Hash of the checkpoint: the same as in each prediction."""
    name: str
    """What the model is called."""
    labels: list[str]
    """All labels of the model, in the model's order."""
    rate: Count
    """Hz at which the model hears."""
    normaliser: str
    """How levels are evened out: `running`, or `clip` (the paper's, offline only)."""
    gate: bool
    """Whether only intervals with speech in them vote."""
    window_s: float
    """Seconds of talk over which an answer is averaged; a pause counts for its first second at most."""
    licence: str
    """Under which the model may be used."""
    corpus: str
    """What the model was trained on."""
    temperature: float = 1.0
    """Fitted on validation, and applied to `probs`, `now` and `confidence`; 1 where none was fitted."""
    abstain_below: float | None = None
    """The confidence below which an answer is not to be believed; None where none was chosen."""


AnyMessage = Prediction | Status | DaemonStatus | ModelInfo

KINDS: dict[str, type[AnyMessage]] = {
    "prediction": Prediction,
    "status": Status,
    "daemon": DaemonStatus,
    "model": ModelInfo,
}
"""The last part of a topic, and what its messages are."""

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(AnyMessage).decode
