"""A metric module for the `evaluate` library: scores of the four speech acts, by scikit-learn.

    evaluate.load("training/metrics/speech_acts.py").compute(references=[0, 1], predictions=[0, 3])

Loaded from its path it needs no network, which `evaluate.load("f1")` does.
"""

from typing import Any, Final

import datasets
import evaluate
import numpy as np
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

from tasrih.labels import LABELS

_DESCRIPTION: Final = "Macro-F1, accuracy, and precision, recall and F1 of each speech act."
_INPUTS: Final = """
Args:
    references: gold label ids, (N,), in the order of tasrih.LABELS
    predictions: predicted label ids, (N,)
Returns:
    macro_f1 and accuracy; precision, recall, f1 and support, lists in the order of tasrih.LABELS
"""


class SpeechActs(evaluate.Metric):
    """Every score is over all four labels; what would divide by zero counts as 0."""

    def _info(self) -> evaluate.MetricInfo:
        ids = datasets.Value("int64")
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features({"references": ids, "predictions": ids}),
        )

    def _compute(  # pyright: ignore[reportIncompatibleMethodOverride]  # evaluate calls it by the features
        self, references: list[int], predictions: list[int]
    ) -> dict[str, Any]:
        ids = list(range(len(LABELS)))
        scores = precision_recall_fscore_support(
            references,
            predictions,
            labels=ids,
            zero_division=0,  # pyright: ignore[reportArgumentType]  # guessed from the default, "warn"
        )
        precision, recall, f1, support = (np.asarray(score).tolist() for score in scores)
        return {
            "macro_f1": float(np.mean(f1)),
            "accuracy": float(accuracy_score(references, predictions)),
            "precision": precision,
            "recall": recall,
            "f1": f1,
            "support": support,
        }
