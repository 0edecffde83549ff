"""Corpora whose folders and file names say it all.

tree        LABEL/SPEAKER/**/*.wav (or FLAC, MP3, OGG, Opus): anybody's own recordings
cslu-fae    CSLU Foreign Accented English: FxxNNNNN.wav anywhere, xx the first language, NNNNN the caller,
            who called once. After the corpus' own formats.txt (LDC2007S08)
ut-podcast  ASSUMED, since the corpus is not public and the paper (arXiv 2006.09815, section 4) gives only the
            classes AU, US and GB: a folder for each class somewhere above its files. Who speaks is not
            described, so the speaker stays empty; training takes `--allow-shared-speakers`, as the paper did
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from streamcab.errors import CorpusError
from streamcab_train.prepare.row import Voice, audio_files

FAE = re.compile(r"F([A-Z]{2})(\d{5})", re.IGNORECASE)
FAE_LANGUAGES = (
    "AR arabic, BP portuguese-brazil, CA cantonese, CZ czech, FA farsi, FR french, GE german, HI hindi, "
    "HU hungarian, IN indonesian, IT italian, JA japanese, KO korean, MA mandarin, MY malay, PO polish, "
    "PP portuguese, RU russian, SD swedish, SP spanish, SW swahili, TA tamil, VI vietnamese"
)
LANGUAGES = dict(pair.split(" ", 1) for pair in FAE_LANGUAGES.split(", "))
TREE = "LABEL/SPEAKER/FILE, e.g. irish/anna/monday.wav"
OUTSIDE = "not below LABEL/SPEAKER/"
PODCAST = {"au": "au", "us": "us", "uk": "uk", "gb": "uk"}


def tree(folder: Path, dropped: Counter[str]) -> Iterator[Voice]:
    """See `row.Layout`."""
    for file in _some(folder, f"; a tree is {TREE}"):
        names = file.relative_to(folder).parts
        if len(names) < 3:
            dropped[OUTSIDE] += 1
            continue
        # Two labels may each have a speaker "1": they are two people.
        yield Voice(file, (names[0],), f"{names[0]}/{names[1]}")


def cslu_fae(folder: Path, dropped: Counter[str]) -> Iterator[Voice]:
    """See `row.Layout`."""
    for file in _some(folder):
        named = FAE.fullmatch(file.stem)
        if named is None or named[1].upper() not in LANGUAGES:
            dropped["not named FxxNNNNN"] += 1
            continue
        yield Voice(file, (LANGUAGES[named[1].upper()],), file.stem.upper())


def ut_podcast(folder: Path, dropped: Counter[str]) -> Iterator[Voice]:
    """See `row.Layout`."""
    for file in _some(folder):
        above = [name.lower() for name in file.relative_to(folder).parts[:-1]]
        found = {PODCAST[name] for name in above if name in PODCAST}
        if len(found) != 1:
            dropped["not below one of AU, US, UK"] += 1
            continue
        yield Voice(file, (found.pop(),), "")


def _some(folder: Path, hint: str = "") -> list[Path]:
    files = audio_files(folder)
    if not files:
        raise CorpusError(f"{folder} holds no audio{hint}")
    return files
