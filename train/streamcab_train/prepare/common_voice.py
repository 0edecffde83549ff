"""Common Voice: DIR is a language's folder, with `validated.tsv` and `clips/`.

`client_id` is the speaker. The accent is what the speaker said of himself, in free words: column `accents`
(`accent` before release 8), several joined by commas or bars. Commas also stand inside brackets ("India and
South Asia (India, Pakistan, Sri Lanka)") and do not part there. Without `validated.tsv` the published train,
dev and test are taken together: their split is by speaker, but not by accent.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from streamcab.errors import CorpusError
from streamcab_train.prepare.row import Voice, need, read_table, sex

COLUMNS = ("client_id", "path")
APART = re.compile(r"[|,](?![^(]*\))")


def parts(words: str) -> tuple[str, ...]:
    """Return an accent as it stands, then its parts where it has several."""
    words = words.strip()
    pieces = [p.strip() for p in APART.split(words)]
    return tuple(dict.fromkeys(p for p in (words, *pieces) if p))


def voices(folder: Path, dropped: Counter[str]) -> Iterator[Voice]:
    """See `row.Layout`."""
    clips = need(folder, "clips")
    tables = [folder / "validated.tsv"]
    if not tables[0].is_file():
        tables = [t for t in (folder / f"{name}.tsv" for name in ("train", "dev", "test")) if t.is_file()]
    if not tables:
        raise CorpusError(f"{folder} holds no validated.tsv; give the folder of one language, such as .../en")
    for table in tables:
        for row in read_table(table, COLUMNS, "\t"):
            accents = parts(row.get("accents") or row.get("accent") or "")
            if not accents:
                dropped["no accent given"] += 1
                continue
            name = row["path"] if Path(row["path"]).suffix else f"{row['path']}.mp3"
            age = row.get("age", "").strip()
            yield Voice(clips / name, accents, row["client_id"].strip(), sex(row.get("gender", "")), age)
