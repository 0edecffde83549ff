"""What a picture says of one stream in words: its answer, or why there is none, and remarks.

Pure. Knows nothing of rows, cells or colours.
"""

from typing import Literal

from streamcab.message import Prediction
from streamcab.view.board import Stream
from streamcab.view.frame import clean, percent

EVEN = 0.5
"""`other` at which an accent of none of the labels is as likely as one of them."""

Tone = Literal["answer", "alert", "quiet"]


def answer_words(stream: Stream) -> tuple[str, Tone, str]:
    """Return the answer or a word in its place, its tone, and its percentage."""
    state, top = stream.state, stream.top
    if state == "lost":
        return "source lost", "alert", ""
    if state == "silent":
        return "silence", "quiet", ""
    if top is None:
        return {"warming": "warming up", "ended": "no answer"}.get(state, "listening"), "quiet", ""
    return top, "answer", percent(stream.confidence)


def about(stream: Stream, caption: str) -> str:
    """Return what there is to say about a stream besides its state; `caption` takes the place of its source."""
    status = stream.status
    said = {
        "silent": "nobody is speaking",
        "lost": "nothing arrives from the source",
        "ended": "this was the final answer" if stream.top else "",
    }
    detail = status.detail if status else ""
    if status and status.flaws:
        detail = "; ".join(part for part in (detail, "samples: " + ", ".join(status.flaws)) if part)
    parts = [detail or said.get(stream.state, ""), caption or (status.source if status else "")]
    return " · ".join(clean(part) for part in parts if part)


def doubt(p: Prediction | None) -> str:
    """Return what to say of an answer that is not to be believed; nothing of others."""
    if p is None or p.top is None or p.sure is not False:
        return ""
    return "perhaps another accent" if (p.other or 0.0) >= EVEN else "not sure"


def duty_words(p: Prediction | None) -> str:
    """Return the share of the time for which a stream is heard, if it is not all of it."""
    return f" ({percent(p.duty)} of the time)" if p is not None and p.duty < 1 else ""


def voice_words(p: Prediction | None) -> str:
    """Return whose answer it is, if not that of the first voice of the stream."""
    return f", voice {p.voice}" if p is not None and p.voice > 1 else ""
