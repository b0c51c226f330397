"""The picture of `engineio bench --plot`, drawn by matplotlib.

Imported when it is asked for, since matplotlib is in no extra and takes its time.
"""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

# So many dots are more than anybody can tell apart.
MOST_DOTS = 20_000
BINS = 60


def can_write(path: Path) -> bool:
    """Tell whether matplotlib knows the format that a file name asks for."""
    return path.suffix.lstrip(".").lower() in Figure().canvas.get_supported_filetypes()


def save(path: Path, title: str, times: Sequence[float], latencies: Sequence[float]) -> None:
    """Draw latencies over time and how they are spread, in seconds.  Raises OSError."""
    step = max(1, len(times) // MOST_DOTS)
    in_ms = [latency * 1000 for latency in latencies]
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    over_time, spread = figure.subplots(1, 2, sharey=True, width_ratios=[3, 1])
    figure.suptitle(title)
    over_time.plot(times[::step], in_ms[::step], ".", markersize=2, alpha=0.5)
    over_time.set_xlabel("seconds")
    over_time.set_ylabel("latency in ms")
    over_time.set_ylim(bottom=0)
    spread.hist(in_ms, bins=BINS, orientation="horizontal")
    spread.set_xlabel("messages")
    figure.savefig(path, dpi=150)
