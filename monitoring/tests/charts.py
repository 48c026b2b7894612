"""Line charts as SVG: one size, one palette, nothing that depends on the machine but the figures."""

import html
import math

WIDTH, HEIGHT = 640, 260
LEFT, RIGHT, TOP, BOTTOM = 58, 24, 46, 36
COLOURS = [
    "#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2", "#be185d", "#4d7c0f", "#57534e",
    "#93c5fd", "#fcd34d", "#6ee7b7", "#fca5a5", "#c4b5fd", "#67e8f9", "#f9a8d4",
]
LEGEND_ROW = 16


def svg(title, unit, lines, seconds, marks):
    """`lines`: (name, [(second, value)]); `marks`: (second, text), a dashed line each."""
    values = [value for _, points in lines for _, value in points if math.isfinite(value)]
    top = nice(max(values, default=0))
    rows = legend(lines)
    height = HEIGHT + LEGEND_ROW * len(rows)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        'font-family="system-ui, sans-serif" font-size="11" fill="#44403c">',
        f"<title>{html.escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{height}" rx="6" fill="#fafaf9" stroke="#e7e5e4"/>',
        f'<text x="{LEFT}" y="20" font-size="13" font-weight="600" fill="#1c1917">{html.escape(title)}</text>',
    ]

    def x(second):
        return LEFT + (WIDTH - LEFT - RIGHT) * second / seconds

    def y(value):
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top

    for step in range(5):
        value = top * step / 4
        out.append(f'<path d="M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}" stroke="#e7e5e4"/>')
        out.append(f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{label(value, unit)}</text>')
    for second in range(0, seconds + 1, 10):
        out.append(f'<text x="{x(second):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{second} s</text>')
    for second, text in marks:
        out.append(
            f'<path d="M{x(second):.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#a8a29e" stroke-dasharray="3 3"/>'
            f'<text x="{x(second):.1f}" y="{TOP - 6}" fill="#78716c">{html.escape(text)}</text>'
        )
    for number, (_, points) in enumerate(lines):
        out.append(
            f'<path d="{path(points, x, y)}" fill="none" stroke="{colour(number)}" stroke-width="1.6" '
            'stroke-linejoin="round"/>'
        )
    for row, entries in enumerate(rows):
        for at, number, name in entries:
            base = HEIGHT + LEGEND_ROW * row
            out.append(f'<rect x="{at}" y="{base - 4}" width="10" height="3" fill="{colour(number)}"/>')
            out.append(f'<text x="{at + 14}" y="{base}">{html.escape(name)}</text>')
    return "\n".join([*out, "</svg>", ""])


def path(points, x, y):
    """A line that breaks where there is no figure, as the age of nothing has none."""
    parts, pen = [], "M"
    for second, value in points:
        if math.isfinite(value):
            parts.append(f"{pen}{x(second):.1f} {y(value):.1f}")
            pen = "L"
        else:
            pen = "M"
    return "".join(parts)


def legend(lines):
    rows, row, at = [], [], LEFT
    for number, (name, _) in enumerate(lines):
        width = 14 + 6.2 * len(name) + 14
        if row and at + width > WIDTH - RIGHT:
            rows.append(row)
            row, at = [], LEFT
        row.append((round(at), number, name))
        at += width
    return [*rows, row] if row else rows


def colour(number):
    return COLOURS[number % len(COLOURS)]


def nice(value):
    """The next 1, 2, 4 or 8 times a power of ten, which four steps divide well."""
    if value <= 0:
        return 1
    power = 10 ** math.floor(math.log10(value))
    return next(factor * power for factor in (1, 2, 4, 8, 10) if factor * power >= value)


def label(value, unit):
    if unit == "s":
        return f"{value * 1000:g} ms" if 0 < value < 1 else f"{value:g} s"
    return f"{value:g}" + ("/s" if unit == "cps" else "")
