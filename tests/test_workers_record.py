"""`listen --workers --record`: several processes that record into one folder."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from patience import until as until_true
from rtp_peer import bye, sending
from test_workers import PACKET, SSRCS, Calling, folder, hear, names, pooled, speech

from streamcab.feed import Subscriber
from streamcab.message import AnyMessage, ModelInfo, Prediction, Status
from streamcab.rtp.codec import decode_g711

__all__ = ["folder"]


def decoded(mu_law: NDArray[np.uint8]) -> NDArray[np.int16]:
    return decode_g711("PCMU", mu_law[: len(mu_law) // PACKET * PACKET])


def recorded(audio: Path) -> dict[str, list[NDArray[np.int16]]]:
    """The samples of every file, by stream, oldest first."""
    found: dict[str, list[NDArray[np.int16]]] = {}
    for file in sorted(audio.glob("*.flac")):
        found.setdefault(file.name.rsplit(".", 3)[0], []).append(soundfile.read(file, dtype="int16")[0])
    return found


def ended(heard: list[AnyMessage]) -> set[str]:
    return {m.stream for m in heard if isinstance(m, Status) and m.state == "ended"}


def test_every_call_has_a_file_of_its_own_and_limits_are_those_of_all(folder: Path) -> None:
    audio, said = folder / "audio", speech(4.0)
    audio.mkdir()
    old = audio / "old.20260101T000000.000Z.flac"
    old.write_bytes(bytes(2_000_000))
    os.utime(old, (time.time() - 3600,) * 2)
    (folder / "names.csv").write_text("*,*,*,desk\n")
    words = ("--record", audio, "--name-map", folder / "names.csv")
    with pooled(folder, *words) as pool, Subscriber(pool.endpoint) as feed:
        heard: list[AnyMessage] = []
        with Calling(pool.port, said, rounds=1):
            hear(feed, heard, lambda: len(names(heard)) == len(said))
            pool.toml.write_text("record_max_gb = 0.001\n")
            pool.process.send_signal(signal.SIGHUP)
        with sending() as sock:
            for ssrc in said:
                sock.sendto(bye(ssrc), ("127.0.0.1", pool.port + 1))
        hear(feed, heard, lambda: ended(heard) == names(heard))
        until_true(lambda: not old.exists())
    sounds = recorded(audio)
    assert sounds.keys() == names(heard)
    assert sorted(sound.tobytes() for (sound,) in sounds.values()) == sorted(
        decoded(mu_law).tobytes() for mu_law in said.values()
    )


def test_the_files_of_a_worker_that_is_killed_can_be_read_and_others_follow(folder: Path) -> None:
    audio, said = folder / "audio", speech(5.0)
    with (
        pooled(folder, "--record", audio) as pool,
        Subscriber(pool.endpoint) as feed,
        Calling(pool.port, said),
    ):
        heard: list[AnyMessage] = []
        hear(feed, heard, lambda: len(names(heard)) == len(SSRCS))
        until_true(lambda: len([*audio.glob("*.flac")]) == len(SSRCS))
        hear(feed, heard, lambda: sum(isinstance(m, Prediction) for m in heard) > 20 * len(SSRCS))
        os.kill(pool.workers[0], signal.SIGKILL)

        def begun_anew() -> bool:
            begun = [m.stream for m in heard if isinstance(m, ModelInfo)]
            return bool(ended(heard)) and all(begun.count(name) == 2 for name in ended(heard))

        hear(feed, heard, begun_anew)
        lost = ended(heard)
        until_true(lambda: len([*audio.glob("*.flac")]) == len(SSRCS) + len(lost))
    sounds = recorded(audio)
    assert sounds.keys() == names(heard)
    for stream, (first, *others) in sounds.items():
        assert len(others) == (stream in lost)
        whole = np.tile(decoded(said[int(stream.rpartition("-")[2], 16)]), 100)
        assert 0 < len(first) < len(whole)
        assert (first == whole[: len(first)]).all()
