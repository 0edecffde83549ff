"""L2-ARCTIC: a folder for each speaker with `wav/` in it; some releases nest it twice (`ABA/ABA/wav`).

First language and sex of the 24 speakers are printed in the corpus' README only, so they stand here
(Zhao et al., Interspeech 2018, and release 5.0). The `suitcase_corpus` has no such speakers and is left out.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from streamcab.errors import CorpusError
from streamcab_train.prepare.row import Voice, audio_files

SPEAKERS = {
    "arabic": {"ABA": "m", "SKA": "f", "YBAA": "m", "ZHAA": "f"},
    "mandarin": {"BWC": "m", "LXC": "f", "NCC": "f", "TXHC": "m"},
    "hindi": {"ASI": "m", "RRBI": "m", "SVBI": "f", "TNI": "f"},
    "korean": {"HJK": "f", "HKK": "m", "YDCK": "f", "YKWK": "m"},
    "spanish": {"EBVS": "m", "ERMS": "m", "MBMPS": "f", "NJS": "f"},
    "vietnamese": {"HQTV": "m", "PNV": "f", "THV": "f", "TLV": "m"},
}
KNOWN = {name: (language, sex) for language, group in SPEAKERS.items() for name, sex in group.items()}
SEX = {"m": "male", "f": "female"}


def voices(folder: Path, dropped: Counter[str]) -> Iterator[Voice]:
    """See `row.Layout`."""
    heard = False
    for file in audio_files(folder):
        name = file.relative_to(folder).parts[0]
        if file.parent.name != "wav" or name not in KNOWN:
            dropped[f"{name} is no speaker of L2-ARCTIC"] += 1
            continue
        heard = True
        language, sex = KNOWN[name]
        yield Voice(file, (language,), name, SEX[sex])
    if not heard:
        raise CorpusError(f"{folder} holds no speaker of L2-ARCTIC, such as ABA/wav/*.wav")
