"""Where quotations and brackets stand in a line of Arabic news, whose marks come in every mixture.

«» and () say by their shape what they do. "", “” and ”“ are told apart by the space around them, where it
shows, then by their shape, then in turn. A quotation may be closed by the mark of another pair ("داعش»).
"""

import re
from bisect import bisect_right
from typing import Final

_MARK: Final = re.compile('[«»“”"()]')
_BEFORE_OPENING: Final = "([«"
_BEHIND_CLOSING: Final = ".،,؛;:!؟?…۔)]»"


class Quotations:
    """The closed quotations and brackets of `text`, outermost only, and all marks in it that open one."""

    def __init__(self, text: str) -> None:
        self.openings: set[int] = set()
        spans: list[tuple[int, int]] = []
        opened: list[tuple[str, int]] = []  # the kind of each mark, «, " or (, and where it stands
        waiting = {"«": 0, '"': 0, "(": 0}  # how many of each kind are in `opened`
        for match in _MARK.finditer(text):
            position = match.start()
            kind, opens = _read(text, position, is_open=waiting['"'] > 0)
            if opens:
                opened.append((kind, position))
                waiting[kind] += 1
                self.openings.add(position)
                continue
            if not waiting[kind]:
                if kind == "(" or not opened or opened[-1][0] == "(":
                    continue  # it closes nothing
                kind = opened[-1][0]
            while opened[-1][0] != kind:  # opened within and never closed
                waiting[opened.pop()[0]] -= 1
            waiting[kind] -= 1
            spans.append((opened.pop()[1], position))
        self._spans: list[tuple[int, int]] = []
        for span in sorted(spans):
            if not self._spans or span[0] > self._spans[-1][1]:
                self._spans.append(span)

    def around(self, position: int) -> tuple[int, int] | None:
        """Return where the quotation that holds `position` opens and closes, or None."""
        index = bisect_right(self._spans, (position, position)) - 1
        found = self._spans[index] if index >= 0 else None
        return found if found and found[1] > position else None


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
