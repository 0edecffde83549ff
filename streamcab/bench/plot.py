"""The table of `bench loss` as a drawing in SVG, without a library for it. Knows nothing of how it came
about.
"""

from collections.abc import Sequence

from streamcab.bench.loss import Row

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 60, 150, 20, 50
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
"""Okabe and Ito's, told apart by the colour-blind too."""


def svg(rows: Sequence[Row]) -> str:
    """Draw the share of clips with the same label over the share of packets lost, a line for each codec and kind of
    loss."""
    lines: dict[str, list[tuple[float, float]]] = {}
    lossy = {(row.codec, row.burst) for row in rows if row.loss}
    for row in rows:
        for burst in (False, True):
            if (row.codec, burst) in lossy and (row.burst == burst or not row.loss):
                name = row.codec.upper() + (", in bursts" if burst else "")
                lines.setdefault(name, []).append((row.loss, row.agree / row.clips))
    most = max((row.loss for row in rows), default=0.0) or 1.0
    least = min((row.agree / row.clips for row in rows), default=0.0)
    floor = max(0.0, int(least * 10) / 10 - 0.1)

    def x(share: float) -> float:
        return LEFT + share / most * (WIDTH - LEFT - RIGHT)

    def y(agree: float) -> float:
        return TOP + (1 - agree) / (1 - floor) * (HEIGHT - TOP - BOTTOM)

    text = 'font-family="sans-serif" font-size="12" fill="#444"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for i in range(round(floor * 10), 11):
        parts.append(f'<path d="M{LEFT} {y(i / 10):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(
            f'<text x="{LEFT - 8}" y="{y(i / 10) + 4:.1f}" text-anchor="end" {text}>{i * 10} %</text>'
        )
    parts += [
        f'<text x="{x(share):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle" {text}>{share * 100:.0f}</text>'
        for share in sorted({row.loss for row in rows})
    ]
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 10}" text-anchor="middle" {text}>% of packets lost</text>')
    for points, colour in zip(lines.values(), COLOURS * 2, strict=False):
        path = "L".join(f"{x(a):.1f} {y(b):.1f}" for a, b in points)
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="3" fill="{colour}"/>' for a, b in points]
    for i, (name, colour) in enumerate(zip(lines, COLOURS * 2, strict=False)):
        at = TOP + 14 + 20 * i
        parts.append(f'<path d="M{WIDTH - RIGHT + 12} {at - 4}h18" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{WIDTH - RIGHT + 36}" y="{at}" {text}>{name}</text>')
    parts.append(f'<text x="{LEFT}" y="{TOP - 6}" {text}>clips with the same label as the clean file</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
