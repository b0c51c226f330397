"""The table and the plots of soak runs, from what run_soak.py has kept of each server."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "soak.md"
BEGIN, END = "<!-- make soak writes this -->", "<!-- until here -->"
HEAD = (
    *("server", "clients", "connects/s", "messages/s", "CPU", "MB at the start", "after warm-up"),
    *("at the end", "growth", "threads", "greenlets", "tasks", "files"),
)
PANELS = {
    "sessions": "sessions",
    "memory": "memory, MB",
    "messages/s": "messages per second",
    "connects/s": "connects per second",
    "threads": "threads",
    "fds": "open files",
}
MORE_PANELS = {"cpu/s": "CPU, cores", "greenlets": "greenlets", "tasks": "tasks"}
SCALES = {"memory": 1e-6}


def head() -> list[str]:
    """The first lines of the table."""
    return [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|"]


def row(result: dict[str, Any]) -> str:
    """A server's line of the table; counts are those of the start and of the end."""
    start, levels = result["start"], result["levels"]
    first, last = levels[0], levels[-1]
    busy = result["busy"] or 1.0
    cells = [
        result["name"],
        f"{result['clients']:,}",
        f"{result['connects'] / busy:,.0f}",
        f"{result['messages'] / busy:,.0f}",
        f"{result['cpu'] / busy * 100:.0f} %",
        *(f"{level['memory'] / 1e6:.1f}" for level in (start, first, last)),
        f"{(last['memory'] / first['memory'] - 1) * 100:+.1f} %",
    ]
    for what in ("threads", "greenlets", "tasks", "fds"):
        cells.append(f"{start['counts'][what]}, {last['counts'][what]}")
    return f"| {' | '.join(cells)} |"


def plot_one(result: dict[str, Any], path: Path) -> None:
    """All that was seen of one server."""
    _plot([result], {**PANELS, **MORE_PANELS}, path)


def plot_all(results: Sequence[dict[str, Any]], path: Path) -> None:
    """What is most telling of all servers."""
    _plot(results, PANELS, path)


def _plot(results: Sequence[dict[str, Any]], panels: dict[str, str], path: Path) -> None:
    figure = Figure(figsize=(11, 3.0 * len(panels) // 3 + 1), layout="constrained")
    axes = figure.subplots(len(panels) // 3, 3, squeeze=False)
    for axis, (what, title) in zip(axes.flat, panels.items(), strict=True):
        scale = SCALES.get(what, 1)
        for number, result in enumerate(results):
            seconds = [sample["second"] for sample in result["samples"]]
            values = [sample[what] * scale for sample in result["samples"]]
            axis.plot(seconds, values, linewidth=1, color=f"C{number}", label=result["name"])
            if what == "memory":
                levels = [result["start"], *result["levels"]]
                at = [level["second"] for level in levels]
                sizes = [level["memory"] * scale for level in levels]
                axis.plot(at, sizes, "o", markersize=4, color=f"C{number}")
        axis.set_title(title, fontsize=10)
        axis.set_ylim(bottom=0)
        axis.set_xlabel("seconds", fontsize=8)
        axis.tick_params(labelsize=8)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=8, frameon=False, fontsize=9)
    with mpl.rc_context({"svg.hashsalt": "engineio"}):  # the same figures give the same file
        figure.savefig(path, dpi=120, metadata={"Date": None} if path.suffix == ".svg" else None)


def write_page(results: Sequence[dict[str, Any]]) -> None:
    """Put table and plot of a run into docs/soak.md and docs/soak.svg."""
    plot_all(results, PAGE.with_suffix(".svg"))
    options = results[0]["options"]
    clients = sum(result["clients"] for result in results)
    said = (
        f"{clients:,} clients, {options['clients']:,} at a time, in {options['rounds']} rounds of "
        f"{options['seconds']:.0f} s on each server; seed {options['seed']}. Problems: "
        f"{sum(len(result['problems']) for result in results)}."
    )
    ends: dict[str, int] = {}
    reasons: dict[str, int] = {}
    for result in results:
        for total, part in ((ends, result["ends"]), (reasons, result["reasons"])):
            for name, count in part.items():
                total[name] = total.get(name, 0) + count
    lines = ["", said, "", *head(), *map(row, results), "", "![](soak.svg)", ""]
    for title, total in (("How they left", ends), ("The reasons given", reasons)):
        parts = [f"{name} {count:,}" for name, count in sorted(total.items())]
        lines += [f"{title}: {', '.join(parts)}.", ""]
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(before + BEGIN + "\n".join(["", *lines]) + END + after)
