"""From rows to counts, and from counts to the share of each act in each period.

Only counts are kept, so that a corpus of any size fits. With sentences that a person has checked the shares
are corrected for the classifier's errors and have intervals: see `tasrih.quantify`. Without, they are raw
counts, and all that is written says so.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final, Literal

from tasrih.labels import LABELS, Label
from tasrih.quantify import prevalence_of_counts
from tasrih.trends.sources import Confusion, confusion_of, label_of, rows_of

Every = Literal["day", "week", "month", "quarter", "year"]
EVERY: Final[tuple[Every, ...]] = ("day", "week", "month", "quarter", "year")
FEW: Final = 30  # sentences; of fewer, one more or less moves a share by more than three hundredths
ALL: Final = "all"  # the group where nothing divides the rows
NO_GROUP: Final = "(none)"

# 2024-01-31, 2024/1/31, 20240131, each also with a time behind; 2024-01; 2024. Digits may be Arabic ones.
_DATE: Final = re.compile(r"(\d{4})(?:([-/])(\d{1,2})(?:\2(\d{1,2}))?|(\d{2})(\d{2}))?(?:[T ].*)?", re.DOTALL)
_EXAMPLES: Final = 3  # of what could not be read, to be shown

Counts = dict[tuple[str, date], Counter[Label]]  # by group and the first day of a period


@dataclass(frozen=True)
class Value:
    """The share of one act. `low` and `high` are None where it is what was `counted`, and no more."""

    share: float
    low: float | None
    high: float | None
    counted: float


@dataclass(frozen=True)
class Point:
    """The shares of the acts in one group's `n` sentences of the period that begins on `start`.

    `few` is True where there are too few sentences to be worth a point in a picture.
    """

    group: str
    start: date
    n: int
    few: bool
    values: Mapping[Label, Value]


@dataclass(frozen=True)
class Trends:
    """`points` by group, then by time; a period without a sentence has none. `by` names what divides them.

    `corrected` is False where shares are raw counts. `notes` say what was left out, and what else a reader
    should know.
    """

    points: list[Point]
    every: Every
    by: str | None
    level: float
    corrected: bool
    notes: list[str]


def trends(
    path: str | Path,
    *,
    by: str | None = None,
    every: Every = "month",
    date_column: str = "date",
    label_column: str = "label",
    labelled: str | Path | None = None,
    few: int = FEW,
    level: float = 0.95,
) -> Trends:
    """Return the share of each act in the rows of a parquet, csv, tsv or jsonl file that have a label.

    `by` names the column whose values divide them; weeks begin on Mondays. `labelled` is a file of sentences
    drawn from this corpus, with the label that a person gave each under `gold` and the model's under
    `label_column`; or a report of training/evaluation.py, whose sentences are of another corpus. Rows without
    a label, or whose date cannot be read, are left out, and `notes` say how many.

    Raises `ValueError` where there is nothing to count or to correct with, `ImportError` where parquet needs
    an extra, and `OSError`.
    """
    if every not in EVERY:
        raise ValueError(f"every: found {every!r}, expected {', '.join(EVERY)}")
    if not 0 < level < 1:
        raise ValueError(f"level: found {level}, expected a probability between 0 and 1")
    notes: list[str] = []
    confusion = None if labelled is None else confusion_of(Path(labelled), label_column, notes)
    if confusion is None:
        notes.append(
            "shares are raw counts: biased by the classifier's errors, and without intervals; label some two "
            "hundred sentences of this corpus, and give them as labelled"
        )
    counts = _counted(Path(path), by, every, (label_column, date_column), notes)
    points = [
        Point(group, start, found.total(), found.total() < few, _values(found, confusion, level))
        for (group, start), found in sorted(counts.items())
    ]
    if rare := sum(point.few for point in points):
        notes.append(
            f"fewer than {few} sentences stand behind {rare:,} of {len(points):,} points: they are in the "
            "table, marked few, and not in the plot"
        )
    return Trends(points, every, by, level, confusion is not None, notes)


def _values(found: Counter[Label], confusion: Confusion | None, level: float) -> dict[Label, Value]:
    if confusion is None:
        counted = {label: found[label] / found.total() for label in LABELS}
        return {label: Value(share, None, None, share) for label, share in counted.items()}
    shares = prevalence_of_counts(found, confusion, level=level).shares
    return {
        label: Value(share.value, share.low, share.high, share.counted) for label, share in shares.items()
    }


def _counted(path: Path, by: str | None, every: Every, named: tuple[str, str], notes: list[str]) -> Counts:
    """Return how often each label is found by group and period, and note what was left out."""
    counts: Counts = {}
    starts: dict[Any, date | None] = {}  # a corpus has few different dates: each is read once
    unlabelled = 0
    unread: Counter[Any] = Counter()
    models: set[str] = set()
    columns = [*named, *([] if by is None else [by])]
    for number, row in enumerate(rows_of(path, columns, ["model_hash"]), start=1):
        label = label_of(row[0], f"{path}, row {number:,}")
        if label is None:
            unlabelled += 1
            continue
        models.add(str(row[-1]))  # of a foreign file it may be anything
        when = row[1] if isinstance(row[1], (str, int, date)) else str(row[1])
        if when not in starts:
            starts[when] = first_day(when, every)
        start = starts[when]
        if start is None:
            unread[when] += 1
            continue
        group = ALL if by is None else NO_GROUP if row[2] in (None, "") else str(row[2])
        counts.setdefault((group, start), Counter())[label] += 1
    notes += _left_out(unlabelled, unread)
    if len(models) > 1:
        notes.append(
            f"rows were labelled by {len(models)} models, whose errors differ: a change over time may be one "
            "of models; label all with the same"
        )
    if not counts:
        raise ValueError(
            f"{path}: found no row with a label and a date, expected the output of tasrih label, with dates "
            f"such as 2024-01-31 under {named[1]!r}"
            + "".join(f"; {note}" for note in _left_out(unlabelled, unread))
        )
    return counts


def _left_out(unlabelled: int, unread: Counter[Any]) -> Iterator[str]:
    if unlabelled:
        yield f"rows left out for want of a label: {unlabelled:,}"
    if unread:
        examples = ", ".join(repr(value) for value in list(unread)[:_EXAMPLES])
        yield f"rows left out for a date that cannot be read: {unread.total():,}, such as {examples}"


# Periods.


def first_day(value: object, every: Every) -> date | None:
    """Return the first day of the period that a date, or a text or number that begins with one, falls in.

    None where it is no date, or says less than is needed: a year falls in no month.
    """
    day = value if isinstance(value, date) else _read(str(value).strip(), every)
    if day is None:
        return None
    year, month = day.year, day.month
    match every:
        case "day":
            return date(year, month, day.day)  # of a date with a time, too
        case "week":
            return date(year, month, day.day) - timedelta(days=day.weekday())
        case "month":
            return date(year, month, 1)
        case "quarter":
            return date(year, month - (month - 1) % 3, 1)
        case "year":
            return date(year, 1, 1)


def _read(text: str, every: Every) -> date | None:
    found = _DATE.fullmatch(text)
    if found is None:
        return None
    year, month, day = found[1], found[3] or found[5], found[4] or found[6]
    if (month is None and every != "year") or (day is None and every in ("day", "week")):
        return None
    try:
        return date(int(year), int(month or 1), int(day or 1))
    except ValueError:  # the 31st of February
        return None


def name(start: date, every: Every) -> str:
    """Return what a period is called: 2024-01-31, 2024-W05, 2024-01, 2024-Q1 or 2024."""
    match every:
        case "day":
            return start.isoformat()
        case "week":
            year, week, _ = start.isocalendar()
            return f"{year:04}-W{week:02}"
        case "month":
            return f"{start.year:04}-{start.month:02}"
        case "quarter":
            return f"{start.year:04}-Q{(start.month + 2) // 3}"
        case "year":
            return f"{start.year:04}"


def following(start: date, every: Every) -> date:
    """Return the first day of the next period. Raises `OverflowError` behind the year 9999."""
    days = {"day": 1, "week": 7, "month": 31, "quarter": 92, "year": 366}[every]
    found = first_day(start + timedelta(days=days), every)
    return start if found is None else found
