"""The tables, as Markdown that reads well on a terminal too."""

from .figures import straight_line

NOTHING = "-"


def markdown(facts, kinds, chosen, absent, figures):
    """The whole of results.md."""
    parts = [
        "# wsgate beside its peers",
        about(facts, chosen, absent, figures),
        cost_table(kinds, chosen, absent, figures),
        ratio_table(kinds, figures),
        pace_table(kinds, chosen, figures),
        growth_table(kinds, figures),
        failures(kinds, chosen, absent, figures),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def about(facts, chosen, absent, figures):
    """Where, when and with what this was measured."""
    machine = f"{facts['cpu']}, {facts['cores']} cores{', virtual' if facts['virtual'] else ''}, {facts['kernel']}"
    rounds = f"{facts['rounds']} round{'s' if facts['rounds'] != 1 else ''}"
    if facts["quick"]:
        rounds += ", quick: short and small, a smoke test and no result"
    if not facts["whole"]:
        rounds += ", interrupted"
    tls = [*figures.said("tls_version"), *figures.said("kx_group"), "P-256 certificate"]
    lines = [
        f"- {facts['date']}; {machine}; load average at the start {facts['load_average']}",
        f"- {rounds}; figures are medians over the rounds; each run has a fresh process, alone, one worker thread",
        f"- {', '.join(tls)}: the same for all; tree {facts['revision']}",
    ]
    lines += [f"- {target.name}: {facts['versions'][target.name]}; {target.about}" for target in chosen]
    lines += [f"- {name}: not measured, {reason}" for name, reason in absent.items()]
    return "\n".join(lines)


def cost_table(kinds, chosen, absent, figures):
    """One row a target: what each kind of work costs the proxy."""
    kinds = [measure for measure in kinds if measure.group != "growth"]
    if not kinds:
        return ""
    rows = [[target.name, *(cell(measure, target, figures) for measure in kinds)] for target in chosen]
    rows += [[name, *("absent" for _ in kinds)] for name in absent]
    head = ["", *(f"{measure.title}, {measure.unit}" for measure in kinds)]
    loads = [f"- {measure.title}: {measure.settings()}" for measure in kinds]
    return "\n\n".join([
        "## Cost",
        "CPU time of the proxy, all its threads and children; for an idle connection its proportional set size.",
        table(head, rows),
        "\n".join(loads),
    ])


def cell(measure, target, figures):
    """A median, with a word where rounds failed."""
    if not measure.suits(target):
        return NOTHING
    value, errors = figures.median(measure, target.name), figures.errors(measure, target.name)
    if value is None:
        return "failed" if errors else NOTHING
    return amount(measure, value) + (f" ({len(errors)} failed)" if errors else "")


def amount(measure, value):
    """A figure with three digits that mean something."""
    value = value / 1024 if measure.unit == "KiB" else value
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def ratio_table(kinds, figures):
    """One row a measure: wsgate's share of the best peer's and of the yardstick's cost, and what is to be reached."""
    rows = []
    for measure in kinds:
        if measure.peer_at_most is None and measure.yardstick is None:
            continue
        peer = figures.ratio_to_best_peer(measure) if measure.peer_at_most else None
        yardstick = figures.ratio_to(measure, measure.yardstick) if measure.yardstick else None
        rows.append([
            measure.title,
            *ratio_cells(peer, measure.peer_at_most, figures.best_peer(measure)),
            *ratio_cells(yardstick, measure.yardstick_at_most, measure.yardstick),
        ])
    if not rows:
        return ""
    head = ["wsgate", "best peer", "ratio", "at most", "", "yardstick", "ratio", "at most", ""]
    words = "## Ratios\n\nMedians of the rounds' ratios; the best peer is the one with the least median."
    return f"{words}\n\n{table(head, rows)}"


def ratio_cells(ratio, at_most, name):
    if at_most is None:
        return [NOTHING] * 4
    if ratio is None:
        return [name or NOTHING, NOTHING, f"{at_most:.2f}", "not measured"]
    return [name, f"{ratio:.2f}", f"{at_most:.2f}", "reached" if ratio <= at_most else "MISSED"]


def pace_table(kinds, chosen, figures):
    """Messages a second and latencies, as the client sees them."""
    echoes = [measure for measure in kinds if measure.load == "echo"]
    timed = echoes + [measure for measure in kinds if measure.load in ("handshake", "refused")]
    if not timed:
        return ""

    def latency(measure, name):
        p50, p99 = (figures.median(measure, name, key) for key in ("p50_us", "p99_us"))
        return NOTHING if p50 is None or p99 is None else f"{p50:.0f} / {p99:.0f}"

    def rate(measure, name):
        value = figures.median(measure, name, "messages_per_second")
        return NOTHING if value is None else f"{value:.0f}"

    words = "As the client sees it, which shares the machine: read these beside each other, not as capacities."
    parts = ["## Pace", words]
    for corner, measures, figure in (("messages a second", echoes, rate), ("p50 / p99, us", timed, latency)):
        if measures:
            rows = [[target.name, *(figure(measure, target.name) for measure in measures)] for target in chosen]
            rows = [row for row in rows if any(one != NOTHING for one in row[1:])]
            parts.append(table([corner, *(measure.title for measure in measures)], rows))
    return "\n\n".join(parts)


def growth_points(kinds, figures, key):
    """(connections, total) of wsgate for each size that was measured."""
    points = []
    for measure in kinds:
        each = figures.median(measure, "wsgate", key) if measure.group == "growth" else None
        if each is not None:
            count = figures.median(measure, "wsgate", "connections")
            points.append((count, each * count))
    return points


def growth_table(kinds, figures):
    """How memory and CPU time grow with the connections."""
    memory = growth_points(kinds, figures, "pss_bytes_per_connection")
    cpu = growth_points(kinds, figures, "cpu_us_per_connection")
    if len(memory) < 3:
        return ""
    rows = [
        [f"{count:.0f}", f"{held / 2**20:.1f}", f"{held / count / 1024:.2f}", f"{us / 1e6:.2f}", f"{us / count:.0f}"]
        for (count, held), (_, us) in zip(memory, cpu)
    ]
    head = ["connections", "memory, MiB", "each, KiB", "CPU, s", "each, us"]
    lines = [f"- {what}: no point is further than {straight_line(points)[2]:.1%} from the straight line"
             for what, points in (("memory", memory), ("CPU", cpu))]
    words = "## Growth of wsgate\n\nOpened, admitted, and one 4 KiB message echoed on each; then idle."
    return "\n\n".join([words, table(head, rows), "\n".join(lines)])


def failures(kinds, chosen, absent, figures):
    """Every run that gave no figure, with its reason."""
    lines = [
        f"- {target.name}, {measure.name}: {reason}"
        for measure in kinds
        for target in chosen
        for reason in dict.fromkeys(figures.errors(measure, target.name))
    ]
    lines += [f"- {name}: {reason}" for name, reason in absent.items()]
    return "## Not measured\n\n" + "\n".join(lines) if lines else ""


def table(head, rows):
    """A Markdown table whose columns are aligned for a terminal."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    numeric = [column > 0 and any(row[column][:1].isdigit() for row in rows) for column in range(len(head))]

    def line(row):
        cells = (cell.rjust(width) if right else cell.ljust(width) for cell, width, right in zip(row, widths, numeric))
        return f"| {' | '.join(cells)} |"

    rule = [("-" * (width - 1) + ":") if right and width > 1 else "-" * width for width, right in zip(widths, numeric)]
    return "\n".join([line(head), f"| {' | '.join(rule)} |", *(line(row) for row in rows)])
