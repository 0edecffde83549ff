"""Opens an audio file of any format.

Owns the checks before a file is trusted: that it is there and is audio. How the file begins decides which library
decodes it: PCM in WAV by ourselves, as from a pipe; MP3 and what else libsndfile knows by that; the rest (AAC, AMR,
WebM, video) by FFmpeg, where the package av is installed. Knows nothing of models or of the rate that they want.
"""

import re
from pathlib import Path

from streamcab.errors import AudioError, SourceError
from streamcab.source import libav, mp3, sndfile, wav
from streamcab.source.decoder import Decoder
from streamcab.source.piped import is_pipe, open_pipe

READABLE = "WAV, FLAC, OGG, Opus or MP3"
MORE = "AAC, AMR, WebM, video"
"""What av reads beside these."""
RAW = {
    **dict.fromkeys((".ulaw", ".ul", ".mulaw", ".mu", ".pcmu"), "-f mulaw -ar 8000 -ac 1"),
    **dict.fromkeys((".alaw", ".al", ".pcma"), "-f alaw -ar 8000 -ac 1"),
    **dict.fromkeys((".sln", ".slin"), "-f s16le -ar 8000 -ac 1"),
    **dict.fromkeys((".sln16", ".slin16"), "-f s16le -ar 16000 -ac 1"),
    **dict.fromkeys((".raw", ".pcm", ".s16", ".sw"), "-f s16le -ar 8000 -ac 1"),
    ".g722": "-f g722",
    ".g729": "-f g729",
    ".gsm": "-f gsm",
}
"""The ffmpeg options for files without a header, by the ending of the name."""
ADDRESS = re.compile("(https?|rtsps?|icecast):/(.*)", re.DOTALL)
"""Of the net, as a path has it: with one slash."""
MAGIC = (b"RIFF", b"RF64", b"fLaC", b"OggS", b"FORM")
"""How a file begins that is more than its name says."""


def open_audio(path: Path) -> Decoder:
    """Open a file. SourceError when it cannot be opened; AudioError when it is empty or no audio."""
    if is_pipe(path):
        return open_pipe(path, open_audio)
    if not path.exists():
        if address := ADDRESS.match(str(path)):
            raise SourceError(
                f"{address[1]}://{address[2]} is an address: save it to a file first, or hear it with `listen --url`"
            )
        raise SourceError(f"{path}: no such file")
    if not path.is_file():
        raise SourceError(f"{path}: not a file; give the path of an audio file ({READABLE})")
    try:
        with path.open("rb") as raw:
            head = raw.read(12)
    except OSError as error:
        raise SourceError(f"{path}: cannot be opened: {error.strerror}") from None
    if not head:
        raise AudioError(f"{path}: the file is empty")
    if path.suffix.lower() in RAW and head[:4] not in MAGIC:
        raise AudioError(
            f"{path}: raw samples without a header, so the rate is unknown; {how_to_convert(path)}"
        )
    for way in (wav.open_wav, mp3.open_mp3, sndfile.open_sndfile, libav.open_av):
        decoder = way(path, head)
        if decoder is not None:
            return decoder
    raise AudioError(f"{path}: not audio that can be read as {READABLE}; {how_to_convert(path)}")


def how_to_convert(path: Path) -> str:
    """Return the line to type for a file that cannot be read here."""
    told = RAW.get(path.suffix.lower())
    if told is not None:
        return f"convert it with `ffmpeg {told} -i FILE out.wav`"
    convert = "convert it with `ffmpeg -i FILE out.wav`"
    if libav.installed():
        return convert
    return f"{MORE} need the package av: pip install av; or {convert}"
