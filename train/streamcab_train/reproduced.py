"""The tables of `streamcab reproduce` as Markdown, from what it found. Computes nothing."""

from collections.abc import Sequence
from typing import Any

from streamcab_train.manifest import PARTS
from streamcab_train.report import interval, table
from streamcab_train.split import SHARED

Found = dict[str, Any]


def render(found: Found) -> str:
    """Render both protocols, with what differs from the paper above each table."""
    parts = [f"# The paper's tables on {found['corpus']}, {' / '.join(found['labels'])}"]
    parts += [_protocol(found, p) for p in found["protocols"]]
    return "\n\n".join(parts) + "\n"


def _protocol(found: Found, p: Found) -> str:
    differs = "; ".join(found["not_as_in_the_paper"]) or "nothing"
    lines = [f"## {p['name'].capitalize()}", f"Not as in the paper: the corpus; {differs}."]
    if p["name"] == SHARED and found["pieces"] > 1:
        lines.append(
            f"Each speaker has one file: it was cut into {found['pieces']} pieces, and these were split. So "
            "training and test share voices, and even recordings."
        )
    lines += [_who(p), _scores(p["rows"])]
    lines.append(
        "Accuracy / UAR / macro F1 on test; best: of the repeats, by accuracy on test, as the paper has it. The "
        "interval (95 %, bootstrap over speakers) is of the mean UAR. The paper's figures are of UT-Podcast, "
        "with speakers shared."
    )
    same = [r for r in p["rows"] if r["same_run_as"]]
    if same:
        names = ", ".join(r["model"] for r in same)
        lines.append(f"{names}: no clip is longer, so these are the runs of {same[0]['same_run_as']}.")
    return "\n\n".join(lines)


def _who(p: Found) -> str:
    rows = [
        [label, *(f"{parts[part]['clips']} of {parts[part]['speakers']}" for part in PARTS)]
        for label, parts in p["counts"].items()
    ]
    return table(["clips of speakers", *PARTS], rows)


def _scores(rows: Sequence[Found]) -> str:
    head = ["model", "heard", "epochs", "best", "mean", "UAR, 95 %", "paper, best", "paper, mean"]
    cells = [
        [
            r["model"],
            f"{r['heard_s']} s",
            " ".join(str(n) for n in r["epochs"]),
            _three(r["best"]),
            _three(r["mean"]),
            interval(r["uar_95"]),
            _three(r["paper_best"]),
            _three(r["paper_mean"]) if r["paper_mean"] else "",
        ]
        for r in rows
    ]
    return table(head, cells)


def _three(numbers: Sequence[float]) -> str:
    return " / ".join(f"{x:.3f}" for x in numbers)
