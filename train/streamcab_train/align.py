"""Aligns each reading with its text, phone by phone, by a classic recogniser. Needs `pip install pocketsphinx`.

    python -m streamcab_train.align saa8k/manifest.csv --out runs/alignment.jsonl

Speakers of the bundled model's classes are left out: the phones are learnt from the others. Resumable: clips that are
in the file already are not aligned again. The recogniser's result depends slightly on the clips before, so an
interrupted run may differ in single phones. A reading that cannot be aligned (one in six) is written without phones. A
clip takes about a second of one core.
"""

import argparse
import csv
import json
import sys
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

from streamcab.source.file import read_audio
from streamcab.text import opened

RATE = 16000
"""Sampling rate of the recogniser's model in Hz; the upper half stays empty for telephone signals."""
TEXT = (
    "please call stella ask her to bring these things with her from the store six spoons of fresh snow peas five "
    "thick slabs of blue cheese and maybe a snack for her brother bob we also need a small plastic snake and a big "
    "toy frog for the kids she can scoop these things into three red bags and we will go meet her wednesday at the "
    "train station"
)
"""The paragraph of the Speech Accent Archive."""
WIDE = {"beam": 1e-60, "wbeam": 1e-45, "pbeam": 1e-60}


def main() -> None:
    parser = argparse.ArgumentParser(description="Align readings of the Speech Accent Archive's paragraph.")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--without", default="us,england,wales,australia", help="Labels that are left out.")
    words = parser.parse_args()
    try:
        from pocketsphinx import Decoder
    except ImportError:
        sys.exit("pocketsphinx is not installed: pip install pocketsphinx")
    decoder = Decoder(samprate=RATE, loglevel="FATAL", **WIDE)
    words.out.parent.mkdir(parents=True, exist_ok=True)
    done = set()
    if words.out.exists():
        done = {
            json.loads(line)["path"] for line in words.out.read_text(encoding="utf-8").splitlines() if line
        }
    with opened(words.manifest) as text, words.out.open("a") as out:
        for row in csv.DictReader(text):
            if row["path"] in done or row["accent"] in words.without.split(","):
                continue
            samples, rate = read_audio(words.manifest.parent / row["path"])
            loud = resample_poly(samples / max(np.abs(samples).max(), 1e-9) * 0.7, RATE, rate)
            said = (loud.clip(-1, 1) * 32767).astype(np.int16).tobytes()
            out.write(json.dumps({"path": row["path"], "phones": aligned(decoder, said)}) + "\n")
            out.flush()


def aligned(decoder, said: bytes) -> list[tuple[str, int, int]]:  # type: ignore[no-untyped-def]
    """Return name, start and length of each phone, in hundredths of a second; empty if the alignment fails."""

    def hear() -> None:
        decoder.start_utt()
        decoder.process_raw(said, full_utt=True)
        decoder.end_utt()

    try:
        decoder.set_align_text(TEXT)
        hear()
        if decoder.hyp() is None:
            return []
        # A second pass, from words to phones.
        decoder.set_alignment()
        hear()
        return [(p.name, p.start, p.duration) for word in decoder.get_alignment() for p in word]
    except RuntimeError:
        return []


if __name__ == "__main__":
    main()
