"""Where quotations and brackets stand in a line of Arabic news, whose marks come in every mixture.

«» and () say by their shape what they do. "", “” and ”“ are told apart by the space around them, where it
shows, then by their shape, then in turn. A quotation may be closed by the mark of another pair ("داعش»).
"""

import re
from array import array
from bisect import bisect_left
from typing import Final

_MARK: Final = re.compile('[«»“”"()]')
_BEFORE_OPENING: Final = "([«"
_BEHIND_CLOSING: Final = ".،,؛;:!؟?…۔)]»"


class Quotations:
    """The closed quotations and brackets of `text`, outermost only, and all marks in it that open one."""

    def __init__(self, text: str) -> None:
        # Positions in increasing order. Arrays, here and below: a line of nothing but marks is no reason to
        # take a hundred bytes for each.
        self._openings, self._starts, self._ends = array("Q"), array("Q"), array("Q")
        kinds: list[str] = []  # of the marks that wait to be closed: «, " or (
        places = array("Q")  # where these stand
        waiting = {"«": 0, '"': 0, "(": 0}  # how many of each kind are in `kinds`
        for match in _MARK.finditer(text):
            position = match.start()
            kind, opens = _read(text, position, is_open=waiting['"'] > 0)
            if opens:
                kinds.append(kind)
                places.append(position)
                waiting[kind] += 1
                self._openings.append(position)
                continue
            if not waiting[kind]:
                if kind == "(" or not kinds or kinds[-1] == "(":
                    continue  # it closes nothing
                kind = kinds[-1]
            while kinds[-1] != kind:  # opened within and never closed
                waiting[kinds.pop()] -= 1
                places.pop()
            waiting[kinds.pop()] -= 1
            self._close(places.pop(), position)

    def _close(self, start: int, end: int) -> None:
        while self._starts and self._starts[-1] > start:  # within this one
            self._starts.pop()
            self._ends.pop()
        self._starts.append(start)
        self._ends.append(end)

    def opens(self, position: int) -> bool:
        """Whether a mark stands at `position` that opens a quotation or bracket, closed or not."""
        index = bisect_left(self._openings, position)
        return index < len(self._openings) and self._openings[index] == position

    def around(self, position: int) -> tuple[int, int] | None:
        """Return where the quotation that holds `position` opens and closes, or None."""
        index = bisect_left(self._starts, position) - 1
        if index < 0 or self._ends[index] <= position:
            return None
        return self._starts[index], self._ends[index]


def _read(text: str, position: int, *, is_open: bool) -> tuple[str, bool]:
    """Return the kind of the mark at `position`, and whether it opens."""
    mark = text[position]
    if mark in "«»":
        return "«", mark == "«"
    if mark in "()":
        return "(", mark == "("
    before, behind = text[max(0, position - 1) : position], text[position + 1 : position + 2]
    free_before = not before or before.isspace() or before in _BEFORE_OPENING
    free_behind = not behind or behind.isspace() or behind in _BEHIND_CLOSING
    if free_before != free_behind:
        return '"', free_before
    return '"', mark == "“" or (mark == '"' and not is_open)
