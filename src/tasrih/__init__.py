"""tasrih: accusation, denial, regret or factual report, for sentences of Arabic news.

from tasrih import classify, tag
classify("نفت الوزارة صحة ما تداولته مواقع التواصل").label   # Label.DENIAL
"""

from tasrih.checkpoint import CheckpointError
from tasrih.labels import LABELS, Label
from tasrih.predict import Classifier, Prediction, TaggedSentence, classify, tag
from tasrih.quantify import Prevalence, Share, prevalence, prevalence_by
from tasrih.sentences import Sentence, split_sentences

__all__ = [
    "LABELS",
    "CheckpointError",
    "Classifier",
    "Label",
    "Prediction",
    "Prevalence",
    "Sentence",
    "Share",
    "TaggedSentence",
    "classify",
    "prevalence",
    "prevalence_by",
    "split_sentences",
    "tag",
]
__version__ = "0.1.0"
