"""Names and text from anywhere, made safe: for a topic of the feed, for JSON, for a terminal and for the log.

A file may be called anything: in another script, with bytes that are no text, with codes that recolour a terminal or
answer for it. Whatever leaves streamcab goes through here, and what users write comes in here. Knows nothing of
streams or sockets.
"""

import errno
import io
import os
import re
import stat
import unicodedata
from hashlib import blake2s
from pathlib import Path

from streamcab.message import DAEMON

LONGEST = 128
"""Characters of a stream's name."""
LISTED = 72
"""Characters that a list keeps free for a name at most; longer ones shift their line. Ids of calls have up to 64 or so,
and a track."""
DIGITS = 6
"""Length of the hash that replaces letters without a transliteration."""
NAMELESS = "stream"

# Scripts whose letters Unicode does not name by their sounds, each with its spelling.
_SPELLED = """
аa бb вv гg дd еe ёe жzh зz иi йi кk лl мm нn оo пp рr сs тt уu фf хkh цts чch шsh щshch ъ ыy ь эe юiu яia
іi їi єie ґg ўu јj љlj њnj ћc ђdj џdz ѓgj ќkj ѕdz
αa βv γg δd εe ζz ηi θth ιi κk λl μm νn ξx οo πp ρr σs ςs τt υy φf χch ψps ωo
ßss æae œoe øo łl đd ðd þth \N{LATIN SMALL LETTER DOTLESS I}i ħh
"""
_LETTERS = {pair[0]: pair[1:] for pair in _SPELLED.split()}
_BY_SOUND = re.compile(
    r"(?:HIRAGANA|KATAKANA|HANGUL|DEVANAGARI|BENGALI|TAMIL|TELUGU|KANNADA|MALAYALAM|GUJARATI|GURMUKHI|ETHIOPIC|GEORGIAN|"
    r"ARMENIAN)(?: SMALL| CAPITAL| VOWEL| MKHEDRULI)* (?:LETTER|SYLLABLE|SIGN) (?:SMALL )?([A-Z]{1,6})"
)
"""Letters that Unicode names by how they sound."""


MOST = 64 << 20
"""Bytes of a file that is none, such as /dev/zero: it may have no end."""


def stream_name(text: str, also: str = "") -> str:
    """Return any text as the name of a stream, fit for a topic of the feed: ASCII letters, digits, . _ - and `also`.

    The same text always gives the same name. Other scripts are spelled in Latin letters; a short hash stands for
    letters that cannot be (ideographs, say), so that two names of them differ. A word that is taken gets a number.
    """
    spelled, lost = [], False
    for c in unicodedata.normalize("NFKC", text):
        sound = _spelled(c)
        lost |= sound is None
        spelled.append("-" if sound is None else sound)
    name = re.sub(rf"[^A-Za-z0-9._{also}]+", "-", "".join(spelled)).strip(f"-._{also}")
    if lost or not name:
        told = blake2s(text.encode(errors="surrogatepass"), digest_size=DIGITS // 2).hexdigest()
        name = f"{name[: LONGEST - DIGITS - 1] or NAMELESS}-{told}" if text else NAMELESS
    name = name[:LONGEST]
    return f"{name}-2" if name == DAEMON else name


def _spelled(c: str) -> str | None:
    """Spell a character in ASCII; return None for a letter or digit of which nothing can be made."""
    if c.isascii():
        return c
    low = c.lower()
    plain = "".join(p for p in unicodedata.normalize("NFKD", low) if not unicodedata.combining(p))
    known = _LETTERS.get(low, _LETTERS.get(plain))
    if known is None and plain.isascii():
        known = plain
    if known is None and (found := _BY_SOUND.fullmatch(unicodedata.name(c, ""))):
        known = found[1].lower()
    if known is not None:
        return known.capitalize() if c != low else known
    if c.isalnum() or 0xD800 <= ord(c) <= 0xDFFF:
        return None
    return "-"


def plural(n: int, noun: str) -> str:
    """Return a number with its noun, such as "1 stream" or "2 streams"."""
    return f"{n} {noun}{'s' * (n != 1)}"


def as_unicode(text: str) -> str:
    r"""Return text that UTF-8 has a form for: bytes of a name that are no text become \xNN."""
    return re.sub(r"[\ud800-\udfff]", lambda m: _escaped(m[0]), text)


def printable(text: str) -> str:
    r"""Return text for one line of a terminal, a log or the feed: control characters become \xNN or \uNNNN."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if _harmless(c) else _escaped(c) for c in text)


def printable_lines(text: str) -> str:
    """Return the same for several lines."""
    return "\n".join(printable(line) for line in text.split("\n"))


def _harmless(c: str) -> bool:
    # Joiners are part of emoji and of several scripts; other format characters turn the direction of writing.
    return c.isprintable() or c in "\u200c\u200d" or unicodedata.category(c) in ("Zs", "Co")


def _escaped(c: str) -> str:
    n = ord(c)
    if 0xDC80 <= n <= 0xDCFF:  # how Python reads a byte that is no text
        return f"\\x{n - 0xDC00:02x}"
    return f"\\x{n:02x}" if n < 0x100 else f"\\u{n:04x}" if n < 0x10000 else f"\\U{n:08x}"


def read_bytes(path: Path) -> bytes:
    """Read a file of the user's whole. OSError when it cannot be read, or is a device or pipe that goes on and on."""
    with path.open("rb") as file:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return file.read()
        data = file.read(MOST + 1)
    if len(data) > MOST:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return data


def opened(path: Path) -> io.StringIO:
    """Open a text file of the user's as CSV wants it: UTF-8, or UTF-16 where a byte order mark says so; without the
    mark.

    OSError when it cannot be read or does not end, UnicodeDecodeError when it is neither.
    """
    data = read_bytes(path)
    marked = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    return io.StringIO(data.decode("utf-16" if marked else "utf-8-sig"), newline="")


def read_text(path: Path) -> str:
    """Read the same whole, with line ends as Python has them. OSError and UnicodeDecodeError as `opened`."""
    return opened(path).getvalue().replace("\r\n", "\n").replace("\r", "\n")
