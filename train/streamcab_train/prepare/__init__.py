"""Corpora as people have them -> manifests as `streamcab train` and `streamcab evaluate` read them.

One module for each layout says who speaks where; `table.py` does all that they have in common. Opens audio
for its length only, downloads nothing, copies nothing. Knows nothing of models or splits.
"""

from streamcab_train.prepare.table import LAYOUTS, Prepared, prepare, read_labels, summary, tell

__all__ = ["LAYOUTS", "Prepared", "prepare", "read_labels", "summary", "tell"]
