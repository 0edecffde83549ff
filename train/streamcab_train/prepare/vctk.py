"""VCTK: `speaker-info.txt`, and a folder for each speaker under `wav48/` (0.80) or `wav48_silence_trimmed/`
(0.92).

0.80 writes speakers as 225 in the table and p225 on the disk; 0.92 writes p225 in both. 0.92 has two
microphones: mic1 is taken, since the same sentence twice is not two clips. A speaker without a row of his own
(p280 and p315 lack much, depending on the release) is dropped and counted.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from streamcab.errors import CorpusError
from streamcab_train.prepare.row import Voice, audio_files, need, sex


def speakers(file: Path) -> dict[str, tuple[str, str, str]]:
    """Read (accent, sex, age) of each speaker; columns are parted by blanks, and the region may have several words."""
    found = {}
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines()[1:]:
        words = line.split()
        if len(words) < 4:
            continue
        name = words[0] if words[0][0].isalpha() else f"p{words[0]}"
        found[name] = (words[3], sex(words[2]), words[1])
    if not found:
        raise CorpusError(f"{file} names no speaker: expected ID AGE GENDER ACCENTS REGION")
    return found


def voices(folder: Path, dropped: Counter[str]) -> Iterator[Voice]:
    """See `row.Layout`."""
    known = speakers(need(folder, "speaker-info.txt"))
    for file in audio_files(need(folder, "wav48_silence_trimmed", "wav48")):
        name = file.parent.name
        if file.stem.endswith("_mic2"):
            dropped["second microphone"] += 1
        elif name not in known:
            dropped[f"speaker {name} is not in speaker-info.txt"] += 1
        else:
            accent, gender, age = known[name]
            yield Voice(file, (accent,), name, gender, age)
