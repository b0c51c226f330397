"""The table and the plot of a run."""

from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from scenarios import SCENARIOS, Scenario
from servers import ASYNC_MODES, FLOOR, JAVASCRIPT, OURS, UPSTREAM

HEAD = ("server", "this project", "python-engineio", "factor", "target", "", "floor")
COLORS = {OURS: "#1f77b4", UPSTREAM: "#b9b9b9", JAVASCRIPT: "#e8a33d"}
LABELS = {OURS: "this project", UPSTREAM: "python-engineio 4.15.1", JAVASCRIPT: "JavaScript"}
PLOTTED = ("ws-echo-1", "ws-echo-16", "ws-echo-64k-1", "fanout", "poll-echo", "ws-connect")
PLOTTED_HOSTS = ("gevent", "eventlet", "gunicorn-gthread")


class Figures:
    """What a run says of one scenario: medians over its rounds, and ratios within a round."""

    def __init__(self, run: dict[str, Any], scenario: Scenario) -> None:
        self.scenario = scenario
        self.notes: dict[str, str] = run["notes"].get(scenario.name, {})
        self._run = run

    def of(self, server: str, scenario: Scenario | None = None) -> list[float]:
        """Return the figure of each round."""
        scenario = scenario or self.scenario
        answers = self._run["results"].get(scenario.name, {}).get(server, [])
        return [answer[scenario.figure] for answer in answers]

    def median(self, server: str) -> float | None:
        """Return the median, None if there is nothing."""
        rounds = self.of(server)
        return median(rounds) if rounds else None

    def factor(self, host: str, other: str, base: Scenario | None = None) -> float | None:
        """Return how many times better our server on `host` is than another one."""
        ours = self.of(f"{OURS}/{host}")
        theirs = self.of(other, base)
        pairs = [
            (theirs_one / mine if self.scenario.less_is_better else mine / theirs_one)
            for mine, theirs_one in zip(ours, theirs, strict=False)
            if mine and theirs_one
        ]
        return median(pairs) if pairs else None


def table(run: dict[str, Any]) -> str:
    """Return the figures as text, which is Markdown too."""
    parts = []
    footnotes: list[str] = []
    for name in run["results"]:
        figures = Figures(run, SCENARIOS[name])
        rows = list(_rows(figures, footnotes))
        if rows:
            clients = _clients(run, name)
            title = f"### {figures.scenario.title}: {figures.scenario.unit} ({clients})\n"
            parts.append("\n".join([title, *_align([HEAD, *rows])]))
    environment = run["environment"]
    packages = ", ".join(f"{name} {number}" for name, number in environment["packages"].items())
    parts.append(
        f"{environment['date']}, commit {environment['commit']}, {environment['cpu']}, "
        f"Python {environment['python']}; {packages}"
    )
    parts.extend(f"[{number}] {note}" for number, note in enumerate(footnotes, 1))
    return "\n\n".join(parts)


def _clients(run: dict[str, Any], name: str) -> str:
    if SCENARIOS[name].arguments[0] in ("ws-connect", "poll-connect", "upgrade"):
        return "20 at a time"
    counts = {
        host: f"{answers[0]['clients']:,}"
        for host, answers in run["results"][name].items()
        if answers
    }
    usual = f"{SCENARIOS[name].clients:,}"
    others = [
        f"{count} on {host.partition('/')[2]}"
        for host, count in counts.items()
        if count != usual and host.startswith(OURS)
    ]
    return ", ".join([f"{usual} clients", *others])


def _rows(figures: Figures, footnotes: list[str]) -> Iterator[tuple[str, ...]]:
    targets = figures.scenario.targets
    for host in ASYNC_MODES:
        cells = [_cell(figures, f"{maker}/{host}", footnotes) for maker in (OURS, UPSTREAM, FLOOR)]
        if not any(cells):
            continue
        ours, upstream, floor = cells
        factor = figures.factor(host, f"{UPSTREAM}/{host}")
        yield (host, ours, upstream, *_verdict(factor, targets.upstream.get(host)), floor)
        if host in targets.gevent:
            factor = figures.factor(host, f"{OURS}/gevent")
            if factor is not None:
                verdict = _verdict(factor, targets.gevent[host])
                yield (f"{host}, beside gevent", "", "", *verdict, "")
        if targets.base is not None and figures.scenario.base is not None:
            base = SCENARIOS[figures.scenario.base]
            factor = figures.factor(host, f"{OURS}/{host}", base)
            if factor is not None:
                verdict = _verdict(factor, targets.base)
                yield (f"{host}, beside {base.name}", "", "", *verdict, "")
    for engine, wanted in (("ws", targets.ws), ("eiows", targets.eiows)):
        name = f"{JAVASCRIPT}/{engine}"
        cell = _cell(figures, name, footnotes)
        if cell:
            factor = figures.factor("gevent", name)
            verdict = _verdict(factor, wanted.get("gevent"))
            yield (f"gevent, beside JavaScript, {engine}", "", cell, *verdict, "")


def _cell(figures: Figures, server: str, footnotes: list[str]) -> str:
    value = figures.median(server)
    note = figures.notes.get(server)
    if value is None and not note:
        return ""
    text = "-" if value is None else f"{value:,.{0 if value >= 100 else 1}f}"
    if not note:
        return text
    if note not in footnotes:
        footnotes.append(note)
    return f"{text} [{footnotes.index(note) + 1}]"


def _verdict(factor: float | None, target: float | None) -> tuple[str, str, str]:
    factor_text = "" if factor is None else f"{factor:.2f} x"
    target_text = "" if target is None else f"{target:.2f} x"
    if factor is None or target is None:
        return factor_text, target_text, ""
    return factor_text, target_text, "met" if factor >= target else "not met"


def _align(rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for number, row in enumerate(rows):
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        yield f"| {' | '.join(cells)} |"
        if number == 0:
            rules = ["-" * widths[0], *("-" * max(width - 1, 1) + ":" for width in widths[1:])]
            yield f"| {' | '.join(rules)} |"


def plot(run: dict[str, Any], path: Path) -> None:
    """Draw the most important scenarios."""
    names = [name for name in PLOTTED if name in run["results"]] or list(run["results"])[:6]
    columns = min(3, len(names))
    lines = -(-len(names) // columns)
    figure = Figure(figsize=(4.6 * columns, 2.9 * lines))
    axes = figure.subplots(lines, columns, squeeze=False)
    for number, axis in enumerate(axes.flat):
        if number < len(names):
            _draw(axis, Figures(run, SCENARIOS[names[number]]))
        else:
            axis.set_axis_off()
    handles = [Patch(color=COLORS[maker]) for maker in COLORS]
    figure.legend(handles, LABELS.values(), loc="lower center", ncols=3, frameon=False)
    environment = run["environment"]
    figure.suptitle(
        f"Engine.IO servers on one core, {environment['date']}", fontsize=12, fontweight="bold"
    )
    figure.tight_layout(rect=(0, 0.06, 1, 0.98))
    with mpl.rc_context({"svg.hashsalt": "engineio"}):  # the same figures give the same file
        figure.savefig(path, metadata={"Date": None})


def _draw(axis: Any, figures: Figures) -> None:
    bars: list[tuple[str, str, float]] = []
    for engine in ("eiows", "ws"):
        value = figures.median(f"{JAVASCRIPT}/{engine}")
        if value is not None:
            bars.append((f"JavaScript, {engine}", JAVASCRIPT, value))
    for host in reversed(PLOTTED_HOSTS):
        for maker in (UPSTREAM, OURS):
            value = figures.median(f"{maker}/{host}")
            if value is not None:
                bars.append((host if maker == OURS else "", maker, value))
    if not bars:
        axis.set_axis_off()
        return
    values = [value for _, _, value in bars]
    # A gap above each of ours, which is the upper one of its pair.
    above = [maker == OURS for _, maker, _ in bars]
    places = [place + 0.4 * sum(above[:place]) for place in range(len(bars))]
    axis.barh(places, values, color=[COLORS[maker] for _, maker, _ in bars], height=0.9)
    axis.set_yticks(places, [label for label, _, _ in bars])
    for place, value in zip(places, values, strict=True):
        axis.text(value + max(values) * 0.015, place, f"{value:,.0f}", va="center", fontsize=8)
    axis.set_xlim(0, max(values) * 1.2)
    axis.set_xticks([])
    axis.set_title(f"{figures.scenario.title}\n{figures.scenario.unit}", fontsize=9)
    axis.tick_params(axis="y", length=0, labelsize=9)
    for side in ("top", "right", "bottom"):
        axis.spines[side].set_visible(False)
