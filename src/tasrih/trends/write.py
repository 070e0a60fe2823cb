"""A table for machines and a picture for people. Both say whether shares are corrected or counted."""

import csv
import io
import math
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any, Final

from tasrih.files import write_atomically
from tasrih.labels import LABELS, Label
from tasrih.trends.count import Point, Trends, following, name

# More lines in a panel cannot be told apart. Their colours can by colour-blind readers (Okabe and Ito 2008).
_COLOURS: Final = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]
_MARKERS: Final = "osD^vP"
_FIELDS: Final = [
    "period",
    "start",
    "act",
    "sentences",
    "share",
    "low",
    "high",
    "counted",
    "corrected",
    "few",
]


def write_table(trend: Trends, path: str | Path) -> None:
    """Write a csv file: a row for each group, period and act. `low` and `high` are empty for raw counts."""
    output = io.StringIO(newline="")
    writer = csv.writer(output)
    group = [] if trend.by is None else [trend.by]
    writer.writerow([*group, *_FIELDS])
    for point in trend.points:
        for label, value in point.values.items():
            shares = [value.share, value.low, value.high, value.counted]
            writer.writerow(
                [
                    *([] if trend.by is None else [point.group]),
                    name(point.start, trend.every),
                    point.start.isoformat(),
                    str(label),
                    point.n,
                    *("" if share is None else f"{share:.6f}" for share in shares),
                    str(trend.corrected).lower(),
                    str(point.few).lower(),
                ]
            )
    content = output.getvalue().encode("utf-8")
    write_atomically(Path(path), lambda temporary: temporary.write_bytes(content))


def write_plot(trend: Trends, path: str | Path) -> list[str]:
    """Write a png with a panel for each act, and return notes on what it does not show.

    Points with few sentences are left out, and lines break there and where a period has none. The largest
    groups are drawn; names that are not Latin, for which no font need be there, become numbers. Raises
    `ImportError` naming the extra.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            f'{error.name} is not installed; plots need: pip install "tasrih[trends]"'
        ) from error
    groups, notes = _drawn(trend)
    figure = Figure(figsize=(10, 7), layout="constrained")
    panels: Any = figure.subplots(2, 2, sharex=True)
    for label, panel in zip(LABELS, panels.flat, strict=True):
        for number, (group, shown) in enumerate(groups.items()):
            points = [point for point in trend.points if point.group == group and not point.few]
            _line(panel, trend, points, label, number, shown)
        panel.set_title(str(label).replace("_", " "))
        panel.yaxis.set_major_formatter("{x:.3g}%")
        if math.isfinite(panel.dataLim.ymax):  # there is a point
            panel.set_ylim(0, max(1.0, 1.05 * panel.dataLim.ymax))
        panel.grid(alpha=0.3)
        panel.tick_params(axis="x", rotation=30)
    if trend.by is not None and groups:
        panels.flat[0].legend(fontsize="small")
    interval = f"corrected for the classifier's errors, with {trend.level:.0%} intervals"
    raw = "RAW COUNTS, not corrected for the classifier's errors; no intervals"
    figure.suptitle(
        f"Share of sentences, by {trend.every}: {interval if trend.corrected else raw}",
        color="black" if trend.corrected else "#B00020",
    )
    # Agg: no display is needed, and no global state is touched.
    write_atomically(Path(path), lambda temporary: FigureCanvasAgg(figure).print_png(str(temporary)))
    return notes


def _drawn(trend: Trends) -> tuple[dict[str, str], list[str]]:
    """Return the groups to be drawn with what they are called, largest first, and notes on it."""
    sizes: Counter[str] = Counter()
    for point in trend.points:
        sizes[point.group] += 0 if point.few else point.n
    largest = [group for group, n in sizes.most_common() if n]
    notes: list[str] = []
    if len(largest) > len(_COLOURS):
        notes.append(
            f"the plot shows the {len(_COLOURS)} largest of {len(largest)} groups; the table has all"
        )
    shown: dict[str, str] = {}
    for number, group in enumerate(largest[: len(_COLOURS)], start=1):
        shown[group] = _escaped(group) if _is_latin(group) else f"{trend.by} {number}"
        if not _is_latin(group):
            notes.append(f"in the plot {shown[group]!r} is {group!r}")
    return shown, notes


def _line(panel: Any, trend: Trends, points: list[Point], label: Label, number: int, shown: str) -> None:
    days: list[date] = []
    shares: list[float] = []
    errors: list[tuple[float, float]] = []
    for point in points:
        if days and point.start > following(days[-1], trend.every):
            days.append(following(days[-1], trend.every))
            shares.append(math.nan)
            errors.append((0, 0))
        value = point.values[label]
        days.append(point.start)
        shares.append(100 * value.share)
        low, high = value.low, value.high
        errors.append(
            (0, 0) if low is None or high is None else (100 * (value.share - low), 100 * (high - value.share))
        )
    look: dict[str, Any] = {
        "color": _COLOURS[number],
        "label": shown,
        "marker": _MARKERS[number],
        "markersize": 4,
    }
    if trend.corrected:
        panel.errorbar(
            days, shares, yerr=list(zip(*errors, strict=True)) or None, capsize=2, linewidth=1, **look
        )
    else:
        panel.plot(days, shares, linestyle=":", markerfacecolor="white", **look)


def _is_latin(text: str) -> bool:
    return all(" " <= character <= "\u024f" and not "\x7f" <= character <= "\x9f" for character in text)


def _escaped(text: str) -> str:
    """Return a name that is not read as a formula, or, for its first character, as one to be hidden."""
    text = text.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text
