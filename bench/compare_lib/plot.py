"""results.svg: one small chart a measure, every bar from zero, in the measure's own unit, so that a length is a cost.

No script, no font of its own, and a ground of its own in both schemes, so that a README shows it as it is.
"""

from html import escape

from .report import amount, growth_points
from .targets import GATEWAY

COLUMNS, GAP, MARGIN = 3, 26, 24
PANEL_WIDTH, ROW, LABEL, FIGURE = 274, 21, 62, 52
TITLE = 26
HEAD = 74

STYLE = """
  .ground { fill: #ffffff; stroke: #d0d7de; }
  text { font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2328; }
  .title { font-size: 17px; font-weight: 600; }
  .panel { font-weight: 600; }
  .quiet { fill: #59636e; font-size: 12px; }
  .own { font-weight: 700; }
  .gateway { fill: #0969da; }
  .peer { fill: #9aa4af; }
  .yardstick { fill: none; stroke: #818b98; stroke-dasharray: 3 2; }
  .axis { stroke: #818b98; }
  .line { fill: none; stroke: #0969da; stroke-width: 2; }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117; stroke: #3d444d; }
    text { fill: #f0f6fc; }
    .quiet { fill: #9198a1; }
    .gateway { fill: #4493f8; }
    .peer { fill: #656c76; }
    .yardstick { stroke: #9198a1; }
    .axis { stroke: #656c76; }
    .line { stroke: #4493f8; }
  }
"""


def svg(facts, kinds, chosen, figures):
    """The whole picture."""
    panels = [bars(measure, chosen, figures) for measure in kinds if measure.group != "growth"]
    panels = [panel for panel in panels if panel] + growth(kinds, figures)
    drawn, y = [], HEAD
    for start in range(0, len(panels), COLUMNS):
        row = panels[start:start + COLUMNS]
        for column, (_, lines) in enumerate(row):
            x = MARGIN + column * (PANEL_WIDTH + GAP)
            drawn += [f'<g transform="translate({x} {y})">', *lines, "</g>"]
        y += max(height for height, _ in row) + GAP
    width, height = 2 * MARGIN + COLUMNS * PANEL_WIDTH + (COLUMNS - 1) * GAP, y + 4
    where = f"{facts['cpu']}, {facts['cores']} cores, one worker thread each, TLS 1.3, X25519, P-256; "
    where += facts["date"][:10]
    what = "Less is better. CPU time of the proxy; memory per idle connection. Dashed: yardsticks that judge nothing."
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        ' role="img">',
        f"<title>{escape('What wsgate costs beside its peers: ' + where)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="ground" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="6"/>',
        text(MARGIN, 30, "What a proxy costs", "title") + text(width - MARGIN, 30, where, "quiet", "end"),
        text(MARGIN, 50, what + (" Quick run: no result." if facts["quick"] else ""), "quiet"),
        *drawn,
        "</svg>",
    ]) + "\n"


def text(x, y, words, style="", anchor="start"):
    style = f' class="{style}"' if style else ""
    anchor = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{style}{anchor}>{escape(words)}</text>'


def bars(measure, chosen, figures):
    """(height, lines) of one measure's panel, or `None` if nobody was measured."""
    suited = [target for target in chosen if measure.suits(target)]
    medians = {target.name: figures.median(measure, target.name) for target in suited}
    longest = max((value for value in medians.values() if value), default=None)
    if longest is None:
        return None
    room = PANEL_WIDTH - LABEL - FIGURE
    unit = measure.unit.replace("us", "\u00b5s")
    lines = [text(0, 12, measure.title, "panel") + text(PANEL_WIDTH, 12, unit, "quiet", "end")]
    y = TITLE
    for target in suited:
        value = medians[target.name]
        own = "own" if target.kind == GATEWAY else ""
        lines.append(text(LABEL - 8, y + 12, target.name, own, "end"))
        if value is None:
            lines.append(text(LABEL + 4, y + 12, "failed" if figures.errors(measure, target.name) else "-", "quiet"))
        else:
            length = max(1.0, room * value / longest)
            lines.append(f'<rect class="{target.kind}" x="{LABEL}" y="{y + 0.5}" width="{length:.1f}" height="14"/>')
            lines.append(text(LABEL + length + 6, y + 12, amount(measure, value), own))
        y += ROW
    lines.append(f'<path class="axis" d="M{LABEL} {TITLE - 4}V{y - 2}"/>')
    return y, lines


def growth(kinds, figures):
    """Panels of wsgate's memory and CPU time over the number of connections."""
    wanted = (("pss_bytes_per_connection", "memory", "MiB", 2**20), ("cpu_us_per_connection", "CPU to open", "s", 1e6))
    drawn = ((growth_points(kinds, figures, key), title, unit, scale) for key, title, unit, scale in wanted)
    return [curve(points, title, unit, scale) for points, title, unit, scale in drawn if len(points) >= 3]


def curve(points, title, unit, scale):
    """(height, lines) of a line chart from the origin."""
    left, bottom, top, right = LABEL, TITLE + 5 * ROW, TITLE + 4, PANEL_WIDTH - 30
    most_x, most_y = points[-1][0], max(y for _, y in points)
    placed = [(left + (right - left) * x / most_x, bottom - (bottom - top) * y / most_y, x, y) for x, y in points]
    lines = [
        text(0, 12, f"wsgate, {title}", "panel") + text(PANEL_WIDTH, 12, f"{unit} over connections", "quiet", "end"),
        f'<path class="axis" fill="none" d="M{left} {top - 4}V{bottom}H{right}"/>',
        f'<path class="line" d="M{left} {bottom}{"".join(f"L{x:.1f} {y:.1f}" for x, y, _, _ in placed)}"/>',
    ]
    for x, y, _, _ in placed:
        lines.append(f'<circle class="gateway" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>')
    for x, y, count, value in placed[-3:]:
        lines.append(text(x, bottom + 16, f"{count:.0f}", "quiet", "middle"))
        lines.append(text(x - 8, y + 2, f"{value / scale:.3g}", "", "end"))
    return bottom + 20, lines
