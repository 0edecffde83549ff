"""Targets of fuzzing: bytes in, and either an answer or an error of our tree; everything else is a defect.

Used by test_fuzz.py through hypothesis, and through atheris, which looks at what code it reaches.
"""

import contextlib
import io
import json
import struct
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import click
import numpy as np
import soundfile
from feeding import status
from health_feed import daemon, model, prediction
from rtp_peer import Talker, intake
from signals import drain, tone
from speech import SMALL_STAGES, tiny_model

from streamcab.cli import main
from streamcab.config.layers import read_settings
from streamcab.config.setting import settings_of
from streamcab.config.tree import Listen
from streamcab.errors import StreamcabError
from streamcab.feed import Subscriber
from streamcab.health.homeassistant import payload
from streamcab.health.metrics import Ledger
from streamcab.health.status import Snapshot, report, screen
from streamcab.message import AnyMessage, Prediction, Status, encode
from streamcab.nn import checkpoint
from streamcab.nn.checkpoint import Checkpoint
from streamcab.rtp.batch import Batch
from streamcab.rtp.names import parse_name_map
from streamcab.rtp.sdp import parse_sdp, parse_types
from streamcab.source.file import read_audio
from streamcab.source.single import LOUDEST
from streamcab.source.stdin import Stdin
from streamcab.view import Board, ViewState, render_fleet, render_one, summary
from streamcab.view.plain import line

SUFFIXES = {
    "WAV": "wav",
    "FLAC": "flac",
    "OGG": "ogg",
    "MP3": "mp3",
    "AIFF": "aiff",
    "W64": "w64",
    "CAF": "caf",
}


@cache
def scratch() -> Path:
    """A folder for this process, gone with it."""
    folder = tempfile.TemporaryDirectory(prefix="fuzz")
    scratch_kept.append(folder)
    return Path(folder.name)


scratch_kept: list[tempfile.TemporaryDirectory[str]] = []


@cache
def audio_seeds() -> dict[str, bytes]:
    """A little of every format, by suffix."""
    seeds = {}
    for format, suffix in SUFFIXES.items():
        subtype = {"OGG": "VORBIS", "MP3": "MPEG_LAYER_III"}.get(format, "PCM_16")
        out = io.BytesIO()
        soundfile.write(out, tone(440, 0.1, 8000), 8000, format=format, subtype=subtype)
        seeds[suffix] = out.getvalue()
    floats = io.BytesIO()
    soundfile.write(floats, tone(440, 0.05, 8000), 8000, format="WAV", subtype="FLOAT")
    return seeds | {"float.wav": floats.getvalue()}


def audio_file(data: bytes, suffix: str = "wav") -> None:
    """An audio file of any content: samples that are numbers, or one line."""
    path = scratch() / f"a.{suffix}"
    path.write_bytes(data)
    with contextlib.suppress(StreamcabError):
        samples, rate = read_audio(path)
        assert samples.dtype == np.float32
        assert (np.abs(samples) <= LOUDEST).all()
        assert rate > 0


def standard_input(data: bytes, format: str = "wav") -> None:
    """A pipe of any content: its stream ends, and holds numbers or what is marked as missing."""
    source = Stdin(format, 8000, 3, file=io.BytesIO(data), name="pipe")
    with contextlib.suppress(StreamcabError):
        source.start()
        for stream in source.streams():
            heard = drain(stream)
            assert (np.isnan(heard) | (np.abs(heard) <= LOUDEST)).all()
            assert "Error" not in stream.detail, stream.detail
    source.close()


def settings(data: bytes) -> None:
    """A TOML file of any content, as `listen` takes it: options, or one line."""
    path = scratch() / "a.toml"
    path.write_bytes(data)
    with contextlib.suppress(StreamcabError):
        read_settings(path, settings_of(Listen))
    with contextlib.suppress(click.ClickException):
        main.commands["listen"].make_context("listen", ["--config", str(path)])


@cache
def checkpoint_seed() -> bytes:
    """A checkpoint of a small net."""
    path = scratch() / "seed.safetensors"
    checkpoint.save(Checkpoint(tiny_model(1, stages=SMALL_STAGES), {"name": "tiny"}), path)
    return path.read_bytes()


def with_header(seed: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """A checkpoint whose header, the JSON in it taken apart, is as `change` leaves it."""
    n = int.from_bytes(seed[:8], "little")
    header = json.loads(seed[8 : 8 + n])
    change(header)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + seed[8 + n :]


def checkpoint_file(data: bytes) -> None:
    """A checkpoint of any content: a model whose weights are numbers, or one line."""
    path = scratch() / "a.safetensors"
    path.write_bytes(data)
    with contextlib.suppress(StreamcabError):
        loaded = checkpoint.load(path)
        assert all(p.isfinite().all() for p in loaded.model.parameters())


@cache
def message_seeds() -> dict[str, dict[str, Any]]:
    """One message of each kind, as JSON, by topic."""
    said: tuple[AnyMessage, ...] = (
        prediction("mic", attention=[0.5, 0.5], run="a"),
        status("mic", run="a"),
        model("mic", run="a"),
        daemon(run="a", counters={"skips": 1}),
    )
    return {f"v1/{m.stream}/{json.loads(encode(m))['kind']}": json.loads(encode(m)) for m in said}


class Readers:
    """Everybody who reads a feed: a view, `status`, metrics, the bridge."""

    def __init__(self) -> None:
        self.feed = Subscriber("tcp://127.0.0.1:1")
        self.board, self.snapshot, self.ledger, self.now = Board(), Snapshot(), Ledger("0"), 0.0

    def frames(self, frames: list[bytes]) -> None:
        """What came off the wire, whatever it is."""
        message = self.feed._accept(frames)
        if message is None:
            return
        self.now += 0.5
        self.board.add([message], self.now)
        self.snapshot.take(message)
        self.ledger.take([message], self.now)
        list(self.ledger.families(self.now))
        screen(self.snapshot, "here")
        report(self.snapshot, "here")
        encode(message)
        if isinstance(message, Prediction | Status):
            line(message)
            payload(message)
        for size in ((80, 24), (1, 1), (200, 60)):
            render_fleet(self.board, size, self.now, ViewState())
            render_one(self.board, message.stream, size, self.now)
        summary(self.board).frame(80)


def feed_message(data: bytes) -> None:
    """A message of the feed: the first line is the topic, the rest the body."""
    readers = Readers()
    try:
        readers.frames(data.split(b"\n", 1))
    finally:
        readers.feed.close()


def datagrams(data: bytes) -> None:
    """RTP and RTCP of any content, cut by lengths that it says itself, among a call that goes on."""
    into, talker, now = intake(), Talker(), 0.0
    try:
        while data:
            size, data = data[0], data[1:]
            mine, data = data[:size], data[size:]
            sent = [talker.say(bytes(160)), (mine, ("127.0.0.1", 4000 + size % 3))]
            into.feed(Batch.of(sent, size % 2), now)
            now += 0.02
            into.sweep(now)
    finally:
        into.end_all("over")


def text(data: bytes) -> None:
    """SDP, payload types and name maps of any content."""
    words = data.decode("utf-8", "replace")
    for parse in (parse_sdp, parse_types, parse_name_map):
        with contextlib.suppress(StreamcabError):
            parse(words if parse is parse_sdp else words.splitlines())  # type: ignore[operator]


TARGETS: dict[str, tuple[Callable[[bytes], None], Callable[[], list[bytes]]]] = {
    "audio_file": (audio_file, lambda: list(audio_seeds().values())),
    "standard_input": (standard_input, lambda: [audio_seeds()["wav"], audio_seeds()["float.wav"]]),
    "settings": (
        settings,
        lambda: [
            Path(__file__).parents[1].joinpath("configs/listen.toml").read_bytes(),
            b'device = ["a"]\nwindow = 3',
        ],
    ),
    "checkpoint_file": (checkpoint_file, lambda: [checkpoint_seed()]),
    "feed_message": (
        feed_message,
        lambda: [f"{t}\n{json.dumps(m)}".encode() for t, m in message_seeds().items()],
    ),
    "datagrams": (datagrams, lambda: [bytes([12, 0x80, 0xC8, 0, 1]) + bytes(20)]),
    "text": (text, lambda: [b"v=0\r\nm=audio 5004 RTP/AVP 97\r\na=rtpmap:97 opus/48000/2\r\n", b"*,*,*,a"]),
}
"""Each target, and bytes to begin with."""
