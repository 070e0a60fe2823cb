"""The four speech acts: their order, names, and codes in the event ontologies of political science.

This module alone decides which column of a model's output is which act.
"""

from enum import StrEnum


class Label(StrEnum):
    """A speech act. The value is the English name: `Label.DENIAL == "denial"`.

    The order of definition is the order of a model's logits: `Label.DENIAL.id == 1`.
    """

    ACCUSATION = "accusation"
    DENIAL = "denial"
    REGRET = "regret"
    FACTUAL_REPORT = "factual_report"

    @property
    def id(self) -> int:
        """The column of this act in logits of shape (B, 4)."""
        return LABELS.index(self)

    @property
    def arabic(self) -> str:
        """The act's name in Arabic."""
        return _ARABIC[self]

    @property
    def cameo(self) -> str:
        """The nearest CAMEO code (Schrodt 2012): 112 accuse, 016 deny responsibility, 055 apologise,
        010 make statement."""
        return _CAMEO[self]

    @property
    def plover(self) -> str | None:
        """The PLOVER category, None where PLOVER drops the event, as it does CAMEO's 01x statements."""
        return _PLOVER[self]


LABELS: tuple[Label, ...] = tuple(Label)

_ARABIC = {
    Label.ACCUSATION: "اتهام",
    Label.DENIAL: "نفي",
    Label.REGRET: "أسف",
    Label.FACTUAL_REPORT: "خبر",
}
_CAMEO = {
    Label.ACCUSATION: "112",
    Label.DENIAL: "016",
    Label.REGRET: "055",
    Label.FACTUAL_REPORT: "010",
}
_PLOVER = {
    Label.ACCUSATION: "ACCUSE",
    Label.DENIAL: None,
    Label.REGRET: "SUPPORT",
    Label.FACTUAL_REPORT: None,
}
