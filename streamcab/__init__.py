"""streamcab: which accent is on this line, now?

    import streamcab
    clf = streamcab.load()

Importing this costs nothing: numpy is loaded with the first use of a name that needs it, torch only where it computes.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Classifier", "Prediction", "Stream", "__version__", "load"]

if TYPE_CHECKING:
    from streamcab.classifier import Classifier, load
    from streamcab.message import Prediction
    from streamcab.stream import Stream


def __getattr__(name: str) -> Any:
    if name in ("Classifier", "load"):
        from streamcab import classifier

        return getattr(classifier, name)
    if name == "Stream":
        from streamcab.stream import Stream

        return Stream
    if name == "Prediction":
        from streamcab.message import Prediction

        return Prediction
    raise AttributeError(f"module 'streamcab' has no attribute {name!r}")
