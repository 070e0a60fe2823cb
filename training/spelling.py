"""The spellings in which the Arabic press differs: a model that learned one paper's must read another's.

International broadcasters and agencies often write every alef bare (الامريكي for الأمريكي), and the
Egyptian press writes final ya without its dots (فى for في). AraBERT's text rules keep both as they are.
"""

import re
from random import Random
from typing import Final

_BARE_ALEF: Final = str.maketrans("أإآ", "ااا")
_FINAL_YA: Final = re.compile(r"ي\b")


def bare_alef(text: str) -> str:
    """Return `text` with the hamza and madda of every alef left out."""
    return text.translate(_BARE_ALEF)


def dotless_ya(text: str) -> str:
    """Return `text` with the dots of every final ya left out."""
    return _FINAL_YA.sub("ى", text)


def respelled(texts: list[str], share: float, seed: int) -> list[str]:
    """Return `texts` with about `share` of them in another press's spelling, chosen by `seed`: two in three
    of those with bare alefs, one in three with dotless final ya."""
    random = Random(seed)
    result: list[str] = []
    for text in texts:
        drawn = random.random() / share if share else 1.0
        result.append(text if drawn >= 1 else bare_alef(text) if drawn < 2 / 3 else dotless_ya(text))
    return result
