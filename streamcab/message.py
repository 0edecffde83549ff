"""The messages of the feed, as types.

Knows nothing of sockets, models or audio, so a subscriber can import this without torch or numpy.
The strings under the fields are the reference: tools/make_schema.py copies them into docs/reference/feed.schema.json,
and docs/reference/feed.md explains them. Added fields keep the version; a changed meaning is a new version.
Numbers are finite: JSON has no NaN; it would become null, and the receiver would refuse the message.
"""

import re
from typing import Annotated, Literal

import msgspec

VERSION = "v1"
DAEMON = "daemon"  # reserved: the stream name of the daemon's own messages

MOST = 2**53
"""The largest integer that JavaScript and many JSON readers hold exactly. The receiver refuses larger ones."""
Count = Annotated[int, msgspec.Meta(ge=-MOST, le=MOST)]

State = Literal["warming", "live", "silent", "lost", "ended"]
"""State of an answer."""
Hears = Literal["speech", "sound", "silence"]
SourceState = Literal["starting", "live", "silent", "stalled", "lost", "reconnecting", "ended"]
"""State of the source of the samples; source/line.py defines the transitions."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")


def valid_name(name: str) -> bool:
    """Return whether `name` is a valid stream name: part of a topic, so it contains no slash and no space.

    The daemon's own name is reserved.
    """
    return name != DAEMON and _NAME.fullmatch(name) is not None


def topic(stream: str, kind: str) -> str:
    """Return the first frame of a message, e.g. `v1/mic/prediction`."""
    return f"{VERSION}/{stream}/{kind}"


class Message(msgspec.Struct, kw_only=True, frozen=True):
    """The fields of every message."""

    run: str = ""
    """Random id of this run of the daemon: a new one means a restart. Set by the publisher."""
    seq: Count = 0
    """Increases by one with each message of this topic: a gap is a loss. Set by the publisher."""
    stream: str
    """Name of the stream; `daemon` for messages about the daemon itself."""
    time: float
    """Unix time in seconds. Of a prediction: when its last sample was captured. Of other messages: when it was sent."""


class Prediction(Message, kw_only=True, frozen=True, tag="prediction", tag_field="kind"):
    """The answer for one stream now."""

    sample: Count
    """Number of samples consumed since the stream's start, at `rate`: the newest one used is `sample` - 1."""
    rate: Count
    """Sampling rate of the source in Hz."""
    labels: list[str]
    """All labels of the model, in the model's order."""
    probs: dict[str, float]
    """Mean of the interval posteriors c_t over the speech in the window; empty while the window holds no speech."""
    now: dict[str, float]
    """The same over the newest second only; empty while it holds no speech."""
    top: str | None
    """The most likely label; None while the window holds no speech."""
    confidence: float | None
    """The probability of `top`: how often such an answer is right, judging by the model's validation set."""
    state: State
    """`warming` (the first seconds), `live`, `silent` (no speech in the window), `lost` (source gone), `ended`."""
    window_s: float
    """How much of the window is filled, in seconds."""
    voiced_s: float
    """Speech in the window, on which the answer is based, in seconds."""
    heard_s: float
    """Speech since the stream began, in seconds."""
    level_db: float | None
    """Level of the newest intervals in dB relative to full scale; None for digital silence."""
    lag_ms: float
    """Time from the capture of the newest sample used to the sending of this message, in milliseconds."""
    lost_ms: float
    """Audio that was captured or announced and never classified, since the stream began, in milliseconds."""
    overflows: Count
    """Number of overflows of the source or of its ring buffer."""
    attention: list[float] | None = None
    """Mean weight of each of the model's classifiers over the window; the weights sum to 1."""
    model: str
    """Hash of the checkpoint."""
    sure: bool | None = None
    """Whether `confidence` reaches the model's threshold `abstain_below`, and `other`, if the model has it, is below
    `abstain_other`; None without an answer or a threshold."""
    hears: Hears = "silence"
    """Content of the newest second: `speech`, other `sound` (music, tones, noise), or `silence`."""
    snr_db: float | None = None
    """Estimated ratio of the window's speech to the noise in its pauses, in dB; None until both were heard."""
    flaws: list[str] = []
    """Flaws of the window's speech: `noisy` (below 15 dB), `narrow-band` (nothing above 2.3 kHz); `encrypted?` in
    place of an answer."""
    duty: float = 1.0
    """Share of the time in which the stream is heard; below 1 while the machine cannot hear all streams."""
    voice: Count = 1
    """The voice that the answer is about: 1 for the first of the stream, 2 for the next one that was told from it, ...
    One that comes back has its number again. Always 1 while voices are not told apart."""
    other: float | None = None
    """How much the speech in the window sounds like an accent of none of the labels, 0 to 1; None without an answer, or
    if the model cannot tell."""


class Status(Message, kw_only=True, frozen=True, tag="status", tag_field="kind"):
    """The state of one stream's source, sent every second and at each change."""

    state: State
    """The same as in the predictions."""
    source: str
    """Description of the source, e.g. `microphone: USB Audio (48000 Hz)`."""
    rate: Count
    """Sampling rate of the source in Hz."""
    captured_s: float
    """Audio captured since the stream began, in seconds."""
    classified_s: float
    """Audio classified since the stream began, in seconds."""
    lag_ms: float
    """Time from the capture of the newest classified sample to now, in milliseconds."""
    lost_ms: float
    """Audio that was captured or announced and never classified, since the stream began, in milliseconds."""
    overflows: Count
    """Number of overflows of the source or of its ring buffer."""
    detail: str = ""
    """Reason for the state; often empty."""
    source_state: SourceState = "live"
    """`starting`, `live`, `silent` (samples come, all zero), `stalled` (none come), `lost`, `reconnecting`, `ended`."""
    flaws: list[str] = []
    """Defects of the samples now: `clipping`, `offset` (a mean far from 0), `stuck`, `not-a-number`; of its
    channels: `channels-cancel-1-2`, `noisy-channel-2`, `unlike-channels-1-2`; of the window's speech: `noisy`,
    `narrow-band`."""
    speech_s: float = 0.0
    """Seconds of speech since the stream began."""
    hears: Hears = "silence"
    """Content of the newest second: `speech`, other `sound` (music, tones, noise), or `silence`."""
    snr_db: float | None = None
    """Estimated ratio of the window's speech to the noise in its pauses, in dB; None until both were heard."""
    duty: float = 1.0
    """Share of the time in which the stream is heard; below 1 while the machine cannot hear all streams."""
    voice: Count = 1
    """The voice of the newest prediction."""
    call: dict[str, str] = {}
    """What a telephony platform says of the call: `platform`, `track`, `call` (its id), `from` and `to` (pseudonyms,
    unless told otherwise), and the customer's own parameters; empty for other sources. With hidden names only
    `platform` and `track`."""


class DaemonStatus(Message, kw_only=True, frozen=True, tag="daemon", tag_field="kind"):
    """The state of the daemon, sent every second under the stream name `daemon`."""

    streams: Count
    """Number of active streams."""
    pass_ms: float
    """Longest iteration of the loop in the last second, in ms: admitting streams, a forward pass, publishing."""
    intervals_per_s: float
    """Intervals of 25 ms classified in the last second, over all streams."""
    lost_ms: float
    """Audio lost in all streams since the daemon's start, in milliseconds."""
    uptime_s: float
    """Time since the daemon's start, in seconds."""
    counters: dict[str, Count] = {}
    """Counts of everything that was refused or dropped, by reason."""
    detail: str = ""
    """Message to the operator; often empty."""


class ModelInfo(Message, kw_only=True, frozen=True, tag="model", tag_field="kind"):
    """The model that answers for a stream; sent at its start and to every late joiner."""

    model: str
    """Hash of the checkpoint: the same as in each prediction."""
    name: str
    """Name of the model."""
    labels: list[str]
    """All labels of the model, in the model's order."""
    rate: Count
    """Sampling rate of the model's input in Hz."""
    normaliser: str
    """Level normalisation: `running`, or `clip` (the paper's, offline only)."""
    gate: bool
    """Whether only intervals with speech count towards the answer."""
    window_s: float
    """Length of the averaging window, in seconds of talk; of a pause only the first second counts."""
    licence: str
    """Licence of the model."""
    corpus: str
    """Training data of the model."""
    temperature: float = 1.0
    """Calibration temperature, fitted on validation, for `probs`, `now` and `confidence`; 1 if none was fitted."""
    abstain_below: float | None = None
    """Confidence below which an answer should be ignored; None if no threshold was chosen."""
    abstain_other: float | None = None
    """`other` from which on an answer should be ignored; None if no limit was chosen."""


AnyMessage = Prediction | Status | DaemonStatus | ModelInfo

KINDS: dict[str, type[AnyMessage]] = {
    "prediction": Prediction,
    "status": Status,
    "daemon": DaemonStatus,
    "model": ModelInfo,
}
"""The type of the messages of each kind; the kind is the last part of a topic."""

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(AnyMessage).decode
