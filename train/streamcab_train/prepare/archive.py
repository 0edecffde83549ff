"""The Speech Accent Archive (accent.gmu.edu), one reading for each speaker, in two layouts:

public  `speakers_all.csv` (native_language, country, birthplace, filename, sex, age) and MP3s in
        `recordings/` or `recordings/recordings/`, as the copy on Kaggle unpacks
saa8k   `manifest.csv` (path, accent, speaker, l1, country, birthplace, sex, age, seconds) and FLACs beside it

The accent of a native is where he was BORN, not how he was rated: the country, and within the United Kingdom
the part that the birthplace names; saa8k has that done. The accent of all others is their first language.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from streamcab_train.prepare.row import Voice, need, read_table, sex

PUBLIC = ("filename", "native_language", "country", "birthplace")
SAA8K = ("path", "accent", "speaker")
NATIONS = ("england", "scotland", "wales", "northern ireland")
COUNTRIES = {"usa": "us", "uk": "uk"}


def accent(language: str, country: str, birthplace: str) -> str:
    """Return one word for where an English speaker is from; the first language of anybody else."""
    language, country = language.strip().lower(), country.strip().lower()
    if language != "english":
        return language
    if country == "uk":
        places = [place.strip().lower() for place in birthplace.split(",")]
        country = next((n for n in NATIONS if n in places), country)
    return COUNTRIES.get(country, country).replace(" ", "-")


def voices(folder: Path, dropped: Counter[str]) -> Iterator[Voice]:
    """See `row.Layout`."""
    table = need(folder, "speakers_all.csv", "manifest.csv")
    if table.name == "manifest.csv":
        for row in read_table(table, SAA8K):
            word, speaker = row["accent"].strip(), row["speaker"].strip()
            yield Voice(folder / row["path"], (word,), speaker, sex(row.get("sex", "")), row.get("age", ""))
        return
    recordings = need(folder, "recordings/recordings", "recordings")
    for row in read_table(table, PUBLIC):
        name = row["filename"].strip()
        if row.get("file_missing?", "").strip().lower() == "true":
            dropped["no recording in the archive"] += 1
            continue
        word = accent(row["native_language"], row["country"], row["birthplace"])
        if not word:
            dropped["no first language given"] += 1
            continue
        yield Voice(
            recordings / f"{name}.mp3", (word,), name, sex(row.get("sex", "")), row.get("age", "").strip()
        )
