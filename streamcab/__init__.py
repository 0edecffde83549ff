"""streamcab: which accent is on this line, now?

    import streamcab
    clf = streamcab.load()

Importing this costs nothing: torch is loaded with the first use of a name that needs it.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Classifier", "Stream", "__version__", "load"]

if TYPE_CHECKING:
    from streamcab.classifier import Classifier, Stream, load


def __getattr__(name: str) -> Any:
    if name in ("Classifier", "Stream", "load"):
        from streamcab import classifier

        return getattr(classifier, name)
    raise AttributeError(f"module 'streamcab' has no attribute {name!r}")
