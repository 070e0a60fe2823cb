"""The linear baseline that a model has to beat: TF-IDF of words and characters, and logistic regression."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union

from data import Example
from tasrih.labels import LABELS
from tasrih.normalise import normalise


def probabilities(training: list[Example], texts: list[str]) -> NDArray[np.float64]:
    """Learn from `training`, half a minute for 15,000 sentences, and return (N, 4) for `texts`.

    Words 1-2 and characters 2-5 within words, sublinear counts, balanced classes. Raises
    `ValueError` where `training` has fewer than two labels.
    """
    # Two sentences at least: two thirds of the n-grams stand in one only, and cost time for nothing.
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, min_df=2)
    regression = LogisticRegression(class_weight="balanced", max_iter=1000)
    model: Any = make_pipeline(make_union(words, characters), regression)
    model.fit([normalise(e.text) for e in training], [e.label.id for e in training])
    result = np.zeros((len(texts), len(LABELS)))
    # A label that training never showed has no column in the regression's answer.
    result[:, model.classes_] = model.predict_proba([normalise(text) for text in texts])
    return result
