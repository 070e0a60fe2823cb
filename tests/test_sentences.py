"""Sentences as a news reader would cut them, with offsets that hold for any string."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasrih.sentences import Sentence, split_sentences

# What a news reader expects, sentence by sentence.
CASES: dict[str, tuple[str, list[str]]] = {
    # --- the plain stop
    "two sentences": (
        "نفت الوزارة الخبر. وقالت إن الأمر لا يعدو كونه شائعة.",
        ["نفت الوزارة الخبر.", "وقالت إن الأمر لا يعدو كونه شائعة."],
    ),
    "no stop at the end": ("نفت الوزارة الخبر", ["نفت الوزارة الخبر"]),
    "question and exclamation": (
        "هل تنفي الحكومة ذلك؟ نعم تنفيه! وهذا ما قالته أمس.",
        ["هل تنفي الحكومة ذلك؟", "نعم تنفيه!", "وهذا ما قالته أمس."],
    ),
    "several marks": (
        "من المسؤول عن هذا كله؟!! لا أحد يعرف.",
        ["من المسؤول عن هذا كله؟!!", "لا أحد يعرف."],
    ),
    "Latin question mark": ("من المسؤول؟ لا أحد? نعم.", ["من المسؤول؟", "لا أحد?", "نعم."]),
    "Urdu full stop": ("نفت الوزارة الخبر۔ وأكدته النقابة۔", ["نفت الوزارة الخبر۔", "وأكدته النقابة۔"]),
    "space before the stop": (
        "اتهم الحزب خصومه . ونفى الخصوم ذلك .",
        ["اتهم الحزب خصومه .", "ونفى الخصوم ذلك ."],
    ),
    "commas and semicolons end nothing": (
        "قال الوزير، أمس؛ إن العمل جار: لا تأخير.",
        ["قال الوزير، أمس؛ إن العمل جار: لا تأخير."],
    ),
    # --- the space that is missing
    "missing space": ("أعلن المجلس قراره.وأضاف أنه نهائي.", ["أعلن المجلس قراره.", "وأضاف أنه نهائي."]),
    "missing space after tanween": (
        "كان القرار نهائياً.وأضاف أنه عادل.",
        ["كان القرار نهائياً.", "وأضاف أنه عادل."],
    ),
    "missing space after a year": (
        "انتهت الحرب عام 1945.وبدأت مرحلة جديدة.",
        ["انتهت الحرب عام 1945.", "وبدأت مرحلة جديدة."],
    ),
    "missing space after per cent": (
        "ارتفع السهم 2.5%.وتراجع المؤشر العام.",
        ["ارتفع السهم 2.5%.", "وتراجع المؤشر العام."],
    ),
    "missing space after a quotation": (
        "قال الناطق: «لا صحة للخبر».وأضاف أن التحقيق مستمر.",
        ["قال الناطق: «لا صحة للخبر».", "وأضاف أن التحقيق مستمر."],
    ),
    "missing space before a quotation": (
        "انتهى الاجتماع دون اتفاق.«لن نوقع» قال الوزير.",
        ["انتهى الاجتماع دون اتفاق.", "«لن نوقع» قال الوزير."],
    ),
    "missing space before straight quotes": (
        'انتهى الاجتماع دون اتفاق."لن نوقع" قال الوزير.',
        ["انتهى الاجتماع دون اتفاق.", '"لن نوقع" قال الوزير.'],
    ),
    "missing space after a question": ("لماذا سكتوا؟لأنهم يعرفون.", ["لماذا سكتوا؟", "لأنهم يعرفون."]),
    "missing space before a dash": (
        "هل تراجعتم عن القرار؟- لا، ولن نتراجع.",
        ["هل تراجعتم عن القرار؟", "لا، ولن نتراجع."],
    ),
    "missing space before a bracket": (
        "وصل الوفد إلى العاصمة.(وكالات)",
        ["وصل الوفد إلى العاصمة.", "(وكالات)"],
    ),
    # --- numbers and dates
    "decimals": (
        "ارتفع الدين إلى 3.7 مليار دولار بنسبة ٢.٥٪ هذا العام.",
        ["ارتفع الدين إلى 3.7 مليار دولار بنسبة ٢.٥٪ هذا العام."],
    ),
    "dates and times": (
        "وقع الحادث في 12.03.2024 عند الساعة 10.30 صباحا.",
        ["وقع الحادث في 12.03.2024 عند الساعة 10.30 صباحا."],
    ),
    "a year ends a sentence": (
        "وقعت الاتفاقية عام 2013. 15 دولة انضمت إليها لاحقا.",
        ["وقعت الاتفاقية عام 2013.", "15 دولة انضمت إليها لاحقا."],
    ),
    "thousands": ("بلغت الكلفة 1.250.000 دينار.", ["بلغت الكلفة 1.250.000 دينار."]),
    "unit after a number": (
        "بدأ الاجتماع عند الساعة 5 م. وانتهى بعد ساعتين.",
        ["بدأ الاجتماع عند الساعة 5 م.", "وانتهى بعد ساعتين."],
    ),
    "Hijri year": (
        "صدر القرار في محرم 1445 هـ. ونشر في الجريدة الرسمية.",
        ["صدر القرار في محرم 1445 هـ.", "ونشر في الجريدة الرسمية."],
    ),
    "score at the start": ("2 - 1 فوز ثمين للمنتخب", ["2 - 1 فوز ثمين للمنتخب"]),
    "range at the start": ("15 - 20 قتيلا في انفجار السوق", ["15 - 20 قتيلا في انفجار السوق"]),
    # --- abbreviations
    "doctor": ("قال د. محمود الصالحي إن الدواء آمن.", ["قال د. محمود الصالحي إن الدواء آمن."]),
    "professor doctor": ("نفى أ.د. سامي الراوي الخبر.", ["نفى أ.د. سامي الراوي الخبر."]),
    "professor doctor, glued": ("نفى أ.د.سامي الراوي الخبر.", ["نفى أ.د.سامي الراوي الخبر."]),
    "engineer at the start": ("م. هالة درويش: لا صحة لما قيل.", ["م. هالة درويش: لا صحة لما قيل."]),
    "post box": ("المراسلات: ص.ب. 1234 عمان.", ["المراسلات: ص.ب. 1234 عمان."]),
    "before Christ": ("بني المعبد عام 300 ق.م في المدينة.", ["بني المعبد عام 300 ق.م في المدينة."]),
    "agency": (
        "لندن (أ. ف. ب) - قالت الشرطة إن الحادث عرضي.",
        ["لندن (أ. ف. ب) - قالت الشرطة إن الحادث عرضي."],
    ),
    "agency with a last stop": (
        "لندن (أ.ف.ب.) - قالت الشرطة إن الحادث عرضي.",
        ["لندن (أ.ف.ب.) - قالت الشرطة إن الحادث عرضي."],
    ),
    "Latin letters spelt out": (
        "قالت هيئة بي. بي. سي إنها تأسف للخطأ. ونشرت تصحيحا.",
        ["قالت هيئة بي. بي. سي إنها تأسف للخطأ.", "ونشرت تصحيحا."],
    ),
    "one spelt letter is a word": (
        "هذا كل ما في الأمر يا أم. إن الحكومة تكذب.",
        ["هذا كل ما في الأمر يا أم.", "إن الحكومة تكذب."],
    ),
    "abbreviation with vowels": (
        "قالَ د. سامرٌ إنّ الدواءَ آمنٌ. ثم غادرَ.",
        ["قالَ د. سامرٌ إنّ الدواءَ آمنٌ.", "ثم غادرَ."],
    ),
    "abbreviation with tatweel": ("قال دـ. سامر إن الدواء آمن.", ["قال دـ. سامر إن الدواء آمن."]),
    "abbreviation between bidi marks": (
        "قال\u202e د\u202e. \u202cسامر إن الدواء آمن.",
        ["قال\u202e د\u202e. \u202cسامر إن الدواء آمن."],
    ),
    # --- Latin words
    "Latin name": ("قال Mr. Smith إن U.S. Steel خسرت.", ["قال Mr. Smith إن U.S. Steel خسرت."]),
    "domain": ("نشر موقع tasrih.org الخبر. ثم حذفه.", ["نشر موقع tasrih.org الخبر.", "ثم حذفه."]),
    "broken address": (
        "للمراسلة editor@gmail. com أو بالهاتف.",
        ["للمراسلة editor@gmail. com أو بالهاتف."],
    ),
    "Latin word ends a sentence": (
        "أعلنت ذلك شبكة CNN. ونفته الوزارة.",
        ["أعلنت ذلك شبكة CNN.", "ونفته الوزارة."],
    ),
    "version": ("صدر الإصدار 2.0 من برنامج Office.", ["صدر الإصدار 2.0 من برنامج Office."]),
    # --- quotations
    "stop inside the quotation": (
        "قال: «لن نقبل بهذا القرار.» وأضاف أن الرد قريب.",
        ["قال: «لن نقبل بهذا القرار.»", "وأضاف أن الرد قريب."],
    ),
    "stop behind the quotation": (
        "قال: «لن نقبل بهذا». وأضاف أن الرد قريب.",
        ["قال: «لن نقبل بهذا».", "وأضاف أن الرد قريب."],
    ),
    "comma behind the quotation": (
        "«من سرق أموال الناس؟»، تساءل النائب.",
        ["«من سرق أموال الناس؟»، تساءل النائب."],
    ),
    "short stops within": (
        "قال الرايس: «صدمونا عمدا. ثم مضوا» وبكى.",
        ["قال الرايس: «صدمونا عمدا. ثم مضوا» وبكى."],
    ),
    "whole sentences within": (
        "وأضاف “لن تهاجم قواتنا أي وحدة عسكرية في البلاد. سيراجع التحالف هذا الهجوم في أقرب وقت”.",
        [
            "وأضاف “لن تهاجم قواتنا أي وحدة عسكرية في البلاد.",
            "سيراجع التحالف هذا الهجوم في أقرب وقت”.",
        ],
    ),
    "straight quotes": (
        'قال: "لا صحة للخبر." ثم غادر القاعة.',
        ['قال: "لا صحة للخبر."', "ثم غادر القاعة."],
    ),
    "mixed pairs": (
        "ندد الناطق بتقدم \"داعش”. وقال إن الأمر خطير.",
        ["ندد الناطق بتقدم \"داعش”.", "وقال إن الأمر خطير."],
    ),
    "quotation in a quotation": (
        "قال: «وصفنا الأمر بأنه \"كذب. وتزوير\" فقط. ولن نزيد» أمس.",
        ["قال: «وصفنا الأمر بأنه \"كذب. وتزوير\" فقط. ولن نزيد» أمس."],
    ),
    "inches": (
        'وزعت الشركة شاشات 42" مجانا. وقالت إنها هدية.',
        ['وزعت الشركة شاشات 42" مجانا.', "وقالت إنها هدية."],
    ),
    "quoted title that asks": (
        "وفي مقال بعنوان «من أغرقهم؟» كتب الباحث أن البحر بريء.",
        ["وفي مقال بعنوان «من أغرقهم؟» كتب الباحث أن البحر بريء."],
    ),
    "mark of doubt": (
        "قال إنه بريء (!) من كل التهم (؟) كلها.",
        ["قال إنه بريء (!) من كل التهم (؟) كلها."],
    ),
    "question and who asked it": (
        "«أنا حطاب فكيف أحرق رزقي؟» يجيب شاب من القرية.",
        ["«أنا حطاب فكيف أحرق رزقي؟» يجيب شاب من القرية."],
    ),
    "question, then a statement": (
        "من المسؤول عن الكارثة؟ قال الوزير إن التحقيق مستمر.",
        ["من المسؤول عن الكارثة؟", "قال الوزير إن التحقيق مستمر."],
    ),
    # --- ellipses
    "pause": ("أنا... لا أعرف ماذا أقول.", ["أنا... لا أعرف ماذا أقول."]),
    "pause with a space": ("اتهموه بالسرقة .. وهو بريء منها.", ["اتهموه بالسرقة .. وهو بريء منها."]),
    "ellipsis that ends": (
        "وقفت أمام باب المدرسة أنتظر ولدي... ولم يخرج أحد منهم.",
        ["وقفت أمام باب المدرسة أنتظر ولدي...", "ولم يخرج أحد منهم."],
    ),
    "ellipsis sign": (
        "وقفت أمام باب المدرسة أنتظر ولدي… ولم يخرج أحد منهم.",
        ["وقفت أمام باب المدرسة أنتظر ولدي…", "ولم يخرج أحد منهم."],
    ),
    "headline of two halves": (
        "أهالي الشابة: الخافرة صدمت القارب عمدا.. والحرس البحري ينفي",
        ["أهالي الشابة: الخافرة صدمت القارب عمدا.. والحرس البحري ينفي"],
    ),
    "words left out": (
        "وقال إن هذا الاتفاق المهم جدا (...) سيوقع غدا في العاصمة.",
        ["وقال إن هذا الاتفاق المهم جدا (...) سيوقع غدا في العاصمة."],
    ),
    # --- lines
    "headline, dateline, paragraph": (
        "الوزارة تنفي الخبر\nبغداد/وكالات\n\nنفت الوزارة الخبر. وأسفت لنشره.\n",
        ["الوزارة تنفي الخبر", "بغداد/وكالات", "نفت الوزارة الخبر.", "وأسفت لنشره."],
    ),
    "dateline in the line": (
        "بيروت، 5 آذار (وكالات) - أعلنت الشركة إفلاسها.",
        ["بيروت، 5 آذار (وكالات) - أعلنت الشركة إفلاسها."],
    ),
    "Windows line ends": (
        "نفت الوزارة الخبر.\r\nوأكدته النقابة.\r\n",
        ["نفت الوزارة الخبر.", "وأكدته النقابة."],
    ),
    "line separators": (
        "الأول\u2028الثاني\u2029الثالث\x85الرابع",
        ["الأول", "الثاني", "الثالث", "الرابع"],
    ),
    "bullets": (
        "مطالب النقابة:\n• رفع الأجور\n- وقف التسريح\n* إعادة المفصولين",
        ["مطالب النقابة:", "رفع الأجور", "وقف التسريح", "إعادة المفصولين"],
    ),
    "emoji bullets": ("▪️ نفي رسمي\n◾ تحقيق", ["نفي رسمي", "◾ تحقيق"]),
    "numbered list": (
        "1. رفع الأجور\n2) وقف التسريح\n٣- إعادة المفصولين\n٤ - الحوار\nأ) فورا",
        ["رفع الأجور", "وقف التسريح", "إعادة المفصولين", "الحوار", "فورا"],
    ),
    "numbers within a line": (
        "طالبت النقابة بأمرين. 1. رفع الأجور فورا. 2. وقف التسريح.",
        ["طالبت النقابة بأمرين.", "رفع الأجور فورا.", "وقف التسريح."],
    ),
    "bullets within a line": (
        "المطالب: • رفع الأجور • وقف التسريح",
        ["المطالب:", "رفع الأجور", "وقف التسريح"],
    ),
    "rules and stars": (
        "نفت الوزارة الخبر.\n* * *\n-----\nوأكدته النقابة.",
        ["نفت الوزارة الخبر.", "وأكدته النقابة."],
    ),
    # --- what else stands in news
    "footnote": (
        "نفت الوزارة الخبر.[1] وأكدته النقابة.[٢][3]",
        ["نفت الوزارة الخبر.[1]", "وأكدته النقابة.[٢][3]"],
    ),
    "hashtags": (
        "نفت الوزارة الخبر. #عاجل #وزارة_الداخلية",
        ["نفت الوزارة الخبر. #عاجل #وزارة_الداخلية"],
    ),
    "tashkeel and tatweel": (
        "نَفَتِ الـوِزارةُ الخـــبرَ. وَأَكَّدَتْهُ النَّقابةُ.",
        ["نَفَتِ الـوِزارةُ الخـــبرَ.", "وَأَكَّدَتْهُ النَّقابةُ."],
    ),
    "vowels do not make words": (
        "قَالَ: «لَا. لَنْ نَقْبَلَ» ثُمَّ مَضَى.",
        ["قَالَ: «لَا. لَنْ نَقْبَلَ» ثُمَّ مَضَى."],
    ),
    "bidi and zero-width at the edges": (
        "\ufeff\u202bنفت الوزارة الخبر.\u202c\u200f \u200bوأكدته النقابة.\u200f",
        ["نفت الوزارة الخبر.", "وأكدته النقابة."],
    ),
    "nothing": ("", []),
    "nothing but marks": (" \n\t…\n***\n«»\n\u200f", []),
}  # fmt: skip


@pytest.mark.parametrize(("article", "expected"), CASES.values(), ids=CASES.keys())
def test_a_news_reader_agrees(article: str, expected: list[str]) -> None:
    sentences = split_sentences(article)
    assert [sentence.text for sentence in sentences] == expected
    assert_exact(article, sentences)


def test_authored_sentences_are_one_sentence_each(texts: list[str]) -> None:
    # The few that are not are two or more by anyone's count ("إنا لله وإنا إليه راجعون. يتقدم المجلس …").
    whole = [text for text in texts if split_sentences(text) == [Sentence(text, 0, len(text))]]
    assert len(whole) >= 2230


def test_an_article_is_the_sum_of_its_sentences(texts: list[str]) -> None:
    chosen = [text for text in texts if text.endswith(".") and len(split_sentences(text)) == 1][:1000]
    for joint in (" ", "\n", "\r\n", "\n\n"):
        assert [sentence.text for sentence in split_sentences(joint.join(chosen))] == chosen


def assert_exact(article: str, sentences: list[Sentence]) -> None:
    end = 0
    gaps: list[str] = []
    for sentence in sentences:
        assert sentence.text == article[sentence.start : sentence.end]
        assert sentence.text
        assert sentence.text.strip() == sentence.text
        assert sentence.start >= end
        gaps.append(article[end : sentence.start])
        end = sentence.end
    gaps.append(article[end:])
    for gap in gaps:
        lost = LIST_MARKER.sub(" ", INVISIBLE.sub("", gap))
        assert not any(char.isalnum() for char in lost), f"lost {lost!r}"


INVISIBLE = re.compile("[\u0640\u064b-\u0652\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufe0f\ufeff]")
LIST_MARKER = re.compile(r"(?:[0-9٠-٩]{1,2}\s?[-.)]|[\u0621-\u064a]\))(?=\s)")

NEWS = st.lists(
    st.sampled_from(
        [
            "نفت", "الوزارة", "قال", "د", "م", "أ", "بي", "سي",
            "إن", "اتهم", "خبر", "رد", "و", "BBC", "com", "Mr", "U",
            "1", "12", "٣", "2024", ".", ".", ".", "..", "...", "…",
            "؟", "!", "،", ":", "؛", "۔", "-", "–", "•", "*", "▪️",
            "«", "»", "“", "”", '"', "(", ")", "[", "]", "[1]", "'", "‘", "#وسم", "%", "/", "@",
            " ", " ", " ", " ", "\n", "\r\n", "\t",
            "\u00a0", "\u2028", "\u200f", "\u202b", "\u202c", "\ufeff", "\u200b",
            "ـ", "\u064e", "\u0651", "\ufe0f", "\u0301", "²", "Ⅷ", "漢", "😀", "\0", "\ud800",
        ]
    ),
    max_size=60,
).map("".join)  # fmt: skip


@given(st.text(st.characters(codec=None, categories=None)) | NEWS)
@settings(max_examples=1000)
def test_offsets_are_exact_and_nothing_is_lost(article: str) -> None:
    assert_exact(article, split_sentences(article))


@given(NEWS)
@settings(max_examples=300)
def test_marks_of_layout_change_nothing(article: str) -> None:
    plain = INVISIBLE.sub("", article)
    marked = "".join(f"{char}\u200f" for char in plain)
    expected = [sentence.text for sentence in split_sentences(plain)]
    assert [sentence.text.replace("\u200f", "") for sentence in split_sentences(marked)] == expected


@given(NEWS, NEWS)
@settings(max_examples=300)
def test_a_line_does_not_depend_on_the_next(first: str, second: str) -> None:
    together = [sentence.text for sentence in split_sentences(f"{first}\n{second}")]
    assert together == [sentence.text for line in (first, second) for sentence in split_sentences(line)]


@pytest.mark.parametrize("article", [None, 5, b"bytes", ["list"]])
def test_refuses_what_is_not_text(article: object) -> None:
    with pytest.raises(TypeError, match=f"^article: found {type(article).__name__}, expected str$"):
        split_sentences(article)  # type: ignore[arg-type]


HOSTILE = [
    "ا", ".", "ا.", "ا. ", " ", "\n", "«", "«(", "«ا. ", '"',
    "(.", ".»", "؟!", "... ", "1. ", " • ", "د.", "بي. ", "ق ", "#ا ",
    "؟ قال ", "؟ #ا", "\u200f", "\u064e.", ". \u200f", "-", "* ", ".[1]", "\0", "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("unit", HOSTILE)
def test_time_grows_with_length_alone(unit: str) -> None:
    def seconds(length: int) -> float:
        article = (unit * length)[:length]
        start = time.process_time()
        sentences = split_sentences(article)
        elapsed = time.process_time() - start
        assert sum(len(sentence.text) for sentence in sentences) <= length
        return elapsed

    # Linear is 4. A machine that was busy for a moment gets another chance; a quadratic splitter fails all.
    assert any(seconds(400_000) < 10 * max(seconds(100_000), 0.02) for _ in range(3))
