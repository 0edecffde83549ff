"""The report of an evaluation: one dictionary as JSON, Markdown, and plots where matplotlib is installed.

Everything is drawn from the dictionary, so a report can be made again from its JSON. Computes nothing.
"""

import importlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from streamcab.errors import ConfigError

Report = dict[str, Any]

PLOT = "report.png"


def write(report: Report, out: Path) -> list[Path]:
    """Write `report.json`, `report.md` and, with matplotlib, `report.png` into the folder `out`; return the files."""
    pyplot = plotter()
    pictures = "" if pyplot is None else f"\n![Reliability, seconds heard, coverage]({PLOT})\n"
    try:
        out.mkdir(parents=True, exist_ok=True)
        files = [
            _put(out / "report.json", json.dumps(report, indent=1) + "\n"),
            _put(out / "report.md", render(report) + pictures),
        ]
    except OSError as error:
        raise ConfigError(f"cannot write the report to {out}: {error.strerror}") from None
    if pyplot is not None:
        files.append(plot(report, out / PLOT, pyplot))
    return files


def render(report: Report) -> str:
    """Render the report as Markdown."""
    parts = [
        _head(report),
        _who(report),
        _overall(report),
        _confusion(report),
        _conditions(report),
        _seconds(report),
        _calibration(report),
        _coverage(report),
        *(_group(trait, groups) for trait, groups in report["groups"].items()),
    ]
    return "\n\n".join(parts) + "\n"


def _head(r: Report) -> str:
    m, d = r["model"], r["data"]
    return (
        f"# {m['name'] or m['file']} ({m['hash']})\n\n"
        f"{d['manifest']}, split {d['split']}: {d['clips']} clips of {d['speakers']} speakers, "
        f"**{d['protocol']}**. Licence of the weights: {m['licence']}. Intervals: 95 %, bootstrap over "
        "speakers within each class."
    )


def _who(r: Report) -> str:
    rows = [[k, c["clips"], c["speakers"], f"{c['hours']:.3f}"] for k, c in r["data"]["classes"].items()]
    dropped = ", ".join(f"{reason} {n}" for reason, n in r["data"]["dropped"].items()) or "none"
    return f"## Who\n\n{table(['class', 'clips', 'speakers', 'hours'], rows)}\n\nDropped rows: {dropped}."


def _overall(r: Report) -> str:
    s = r["scores"]
    rows = [
        ["UAR", f"**{s['uar']:.3f}**", interval(s["interval_95"]["uar"]), f"chance {s['chance_uar']:.3f}"],
        [
            "accuracy",
            f"{s['accuracy']:.3f}",
            interval(s["interval_95"]["accuracy"]),
            f"largest class always {s['accuracy_of_the_largest_class']:.3f}",
        ],
        ["macro F1", f"{s['f1']:.3f}", interval(s["interval_95"]["f1"]), ""],
    ]
    return f"## Scores\n\n{table(['', '', '95 %', 'to compare with'], rows)}"


def _confusion(r: Report) -> str:
    labels, s = r["model"]["labels"], r["scores"]
    rows = []
    for label, counts, sure in zip(labels, s["confusion"], s["interval_95"]["recall"], strict=True):
        rows.append([label, *counts, number(s["recall"][label]), interval(sure)])
    return f"## Confusion\n\n{table(['truth', *labels, 'recall', '95 %'], rows)}"


def _conditions(r: Report) -> str:
    rows = [
        [
            c["condition"],
            number(c["accuracy"]),
            number(c["uar"]),
            interval(c["uar_95"]),
            interval(c["uar_minus_offline_95"], sign=True) if c["uar_minus_offline_95"] else "",
            f"{c['same_answers']:.1%}",
            f"{c['largest_difference']:.1e}",
        ]
        for c in r["conditions"]
    ]
    head = ["heard", "accuracy", "UAR", "95 %", "UAR - offline, 95 %", "same answers", "largest difference"]
    return (
        f"## Ways of hearing\n\n{table(head, rows)}\n\n"
        "The largest difference is of any probability of any clip; streamed must agree with offline to 1e-5."
    )


def _seconds(r: Report) -> str:
    rows = [
        [
            s["seconds"],
            s["clips_that_long"],
            number(s["accuracy"]),
            number(s["uar"]),
            interval(s["uar_95"]),
            interval(s["whole_minus_these_uar_95"], sign=True),
            f"{s['same_answers']:.1%}",
        ]
        for s in r["seconds"]
    ]
    head = ["first seconds", "clips that long", "accuracy", "UAR", "95 %", "UAR of the whole - this, 95 %"]
    head.append("answers as of the whole")
    return (
        f"## Seconds heard\n\n{table(head, rows)}\n\n"
        f"All clips count in every row; a shorter one with all that it has. {_enough(r['enough'])}"
    )


def _enough(row: Report | None) -> str:
    if row is None:
        return "Whether more audio would stop helping cannot be told from these clips."
    return (
        f"**From {row['seconds']} s on more audio did not help measurably**: {row['clips_that_long']} clips are "
        f"that long, and the whole has a UAR higher by {interval(row['whole_minus_these_uar_95'], sign=True)}."
    )


def _calibration(r: Report) -> str:
    c = r["calibration"]
    served, bare, t = c["as_served"], c["bare"], c["temperature"]
    lines = [f"ECE {served['ece']:.3f}, -log p(truth) {served['nll']:.3f}, as served."]
    if t is None:
        lines.append("No temperature was fitted.")
    else:
        lines.append(
            f"Served with temperature {t['temperature']:.3g} (fitted on {t['fitted_on']}, {t['clips']} clips); "
            f"without: ECE {bare['ece']:.3f}, -log p(truth) {bare['nll']:.3f}."
        )
    rows = [
        [f"{b['low']:.1f} to {b['high']:.1f}", b["clips"], number(b["confidence"]), number(b["accuracy"])]
        for b in served["bins"]
    ]
    return (
        "## Calibration\n\n"
        + "\n".join(lines)
        + f"\n\n{table(['confidence', 'clips', 'mean', 'right'], rows)}"
    )


def _coverage(r: Report) -> str:
    rows = [
        [f"{c['share']:.0%}", f"{c['threshold']:.3f}", c["clips"], number(c["accuracy"]), number(c["uar"])]
        for c in r["coverage"]
    ]
    text = "## Not answering\n\n" + table(["answered", "confidence from", "clips", "accuracy", "UAR"], rows)
    a = r["abstain"]
    if a is not None:
        text += (
            f"\n\nFor an accuracy of {a['wanted_accuracy']:.2f} validation asks for a confidence of "
            f"{number(a['threshold'])}; here that answers {a['coverage']:.0%} of the clips, with an accuracy "
            f"of {number(a['accuracy'])}."
        )
    return text


def _group(trait: str, groups: Sequence[Report]) -> str:
    rows = [
        [
            g["group"],
            " / ".join(str(n) for n in g["clips"].values()),
            number(g["accuracy"]),
            number(g["uar"]),
            interval(g["uar_95"]),
        ]
        for g in groups
    ]
    labels = " / ".join(groups[0]["clips"]) if groups else ""
    text = f"## By {trait}\n\n{table([trait, f'clips: {labels}', 'accuracy', 'UAR', '95 %'], rows)}"
    return f"{text}\n\nUAR: the mean over the classes of a group; where one lacks, it cannot be compared."


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Render a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def number(x: float | None) -> str:
    """Round to three digits."""
    return "-" if x is None else f"{x:.3f}"


def interval(pair: Sequence[float] | None, sign: bool = False) -> str:
    """Write `0.39 to 0.58`; nothing is known where a class has one voice."""
    if pair is None:
        return "unknown: one speaker"
    return f"{pair[0]:+.2f} to {pair[1]:+.2f}" if sign else f"{pair[0]:.2f} to {pair[1]:.2f}"


def plotter() -> ModuleType | None:
    """Return matplotlib without a screen, where it is installed."""
    try:
        importlib.import_module("matplotlib").use("Agg")
        return importlib.import_module("matplotlib.pyplot")
    except ImportError:
        return None


def plot(report: Report, file: Path, pyplot: Any) -> Path:
    """Plot reliability, seconds heard and coverage side by side."""
    figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(13, 4), layout="constrained")
    left.plot([0, 1], [0, 1], color="grey", linewidth=1)
    names = ["as_served"] if report["calibration"]["temperature"] is None else ["as_served", "bare"]
    for name in names:
        bins = report["calibration"][name]["bins"]
        x, y = [b["confidence"] for b in bins], [b["accuracy"] for b in bins]
        left.plot(x, y, marker="o", label=name.replace("_", " "))
    left.set(title="Reliability", xlabel="confidence", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1))
    left.legend()
    seconds = report["seconds"]
    x = [s["seconds"] for s in seconds]
    middle.plot(x, [s["uar"] for s in seconds], marker="o")
    if all(s["uar_95"] for s in seconds):
        low, high = ([s["uar_95"][i] for s in seconds] for i in (0, 1))
        middle.fill_between(x, low, high, alpha=0.2)
    middle.set(title="Seconds heard", xlabel="first seconds of each clip", ylabel="UAR", ylim=(0, 1))
    curve = report["coverage"]
    shares = [c["share"] for c in curve]
    right.plot(shares, [c["accuracy"] for c in curve], marker="o", label="accuracy")
    right.plot(shares, [c["uar"] for c in curve], marker="o", label="UAR")
    right.set(title="Answering the surest only", xlabel="share answered", xlim=(0, 1), ylim=(0, 1))
    right.legend()
    figure.savefig(file, dpi=120)
    pyplot.close(figure)
    return file


def _put(file: Path, text: str) -> Path:
    part = file.with_name(f".{file.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, file)
    return file
