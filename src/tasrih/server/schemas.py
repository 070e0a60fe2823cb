"""What comes in and what goes out, as OpenAPI describes it."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, FailFast, Field, model_validator
from pydantic_core import PydanticCustomError

from tasrih.labels import Label
from tasrih.predict import Prediction, TaggedSentence

Probability = Annotated[float, Field(ge=0, le=1)]


def _unicode(text: str) -> str:
    """JSON may hold half a character, as "\\ud800"; no UTF-8 can, and no answer could repeat it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PydanticCustomError(
            "unicode", "found a lone surrogate at character {at}, expected Unicode text", {"at": error.start}
        ) from None
    return text


# What the classifier looks for, once it has taken markup and links out: all that a description can say.
_ARABIC_LETTER = "[\u0621-\u063a\u0641-\u064a]"

Text = Annotated[str, AfterValidator(_unicode), Field(json_schema_extra={"pattern": _ARABIC_LETTER})]


class _Strict(BaseModel):
    """A request's body. One error is enough: pydantic would list each of 300,000 wrong texts or fields."""

    model_config = ConfigDict(strict=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _no_other_field(cls, data: Any) -> Any:
        other = (
            next((name for name in data if name not in cls.model_fields), None)
            if isinstance(data, dict)
            else None
        )
        if other is not None:
            expected = ", ".join(cls.model_fields)
            raise PydanticCustomError(
                "extra_forbidden",
                "found the field {other}, expected {expected}",  # pyright: ignore[reportArgumentType]
                {"other": repr(other)[:80], "expected": expected},
            )
        return data


class ClassifyRequest(_Strict):
    """Sentences, each with an Arabic letter."""

    texts: Annotated[list[Text], FailFast(), Field(min_length=1, examples=[["نفت الوزارة صحة الخبر"]])]


class TagRequest(_Strict):
    """An article."""

    text: Annotated[Text, Field(examples=["اتهمت المعارضة الحكومة. ونفى الوزير ذلك."])]


class PredictionBody(BaseModel):
    """As `tasrih.Prediction`: `confidence` is the calibrated probability of `label`, `secondary` a second act
    in the same sentence, `truncated` whether the text was longer than the model reads."""

    label: Label
    confidence: Probability
    scores: dict[Label, Probability]
    secondary: Label | None
    truncated: bool

    @classmethod
    def of(cls, prediction: Prediction) -> "PredictionBody":
        # model_construct: our own values need no checking, a thousand times per answer.
        return cls.model_construct(**_fields(prediction))


class SentenceBody(PredictionBody):
    """A sentence of the article, from character `start` up to, not including, `end` (Unicode code points)."""

    text: str
    start: int
    end: int

    @classmethod
    def of_sentence(cls, sentence: TaggedSentence) -> "SentenceBody":
        fields = _fields(sentence.prediction)
        return cls.model_construct(**fields, text=sentence.text, start=sentence.start, end=sentence.end)


class ClassifyResponse(BaseModel):
    """One prediction per text, in the order of the texts."""

    predictions: list[PredictionBody]


class TagResponse(BaseModel):
    """The article's sentences in order, without those that have no Arabic letter."""

    sentences: list[SentenceBody]


class HealthResponse(BaseModel):
    """`queued` is how many sentences wait or are being classified."""

    status: Literal["ok"]
    version: str
    model: str
    queued: int


def _fields(prediction: Prediction) -> dict[str, Any]:
    return {
        "label": prediction.label,
        "confidence": prediction.confidence,
        "scores": dict(prediction.scores),
        "secondary": prediction.secondary,
        "truncated": prediction.truncated,
    }
