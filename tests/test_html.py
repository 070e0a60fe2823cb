"""The report as a file: what it holds, what it cannot do, and whom its colours serve."""

import base64
import hashlib
import itertools
import re
import subprocess
import sys
import zipfile
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasrih import LABELS, Classifier, Label, Prediction, TaggedSentence
from tasrih.cli import main
from tasrih.report import page, stylesheet, tagged_html, text_html

ROOT = Path(__file__).parents[1]
ARTICLE = (ROOT / "examples" / "article.txt").read_text(encoding="utf-8")
VOID = {"meta", "link"}


class Parsed(HTMLParser):
    """Tags with their attributes, the text of the article, and that of each mark."""

    def __init__(self, document: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.marks: list[str] = []
        self.notes: list[str] = []
        self._open: list[str] = []
        self.feed(document)
        self.close()
        assert not self._open, "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if tag not in VOID:
            self._open.append(f"{tag} {attributes.get('class', '')}".strip())
        if tag == "mark":
            self.marks.append("")
        if attributes.get("class") == "note":
            self.notes.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop().split()[0] == tag

    def handle_data(self, data: str) -> None:
        if "span note" in self._open:
            self.notes[-1] += data
        elif "div article" in self._open:
            self.text += data
            if any(element.startswith("mark") for element in self._open):
                self.marks[-1] += data


def prediction(
    label: Label = Label.DENIAL, secondary: Label | None = None, truncated: bool = False
) -> Prediction:
    scores = {**dict.fromkeys(LABELS, 0.02), label: 0.94}
    return Prediction(label, 0.94, scores, secondary, truncated)


def sentence(article: str, text: str, of: Prediction | None = None) -> TaggedSentence:
    start = article.index(text)
    return TaggedSentence(text, start, start + len(text), of or prediction())


def test_the_whole_article_stands_there_and_its_sentences_are_marked() -> None:
    sentences = Classifier.load().tag(ARTICLE)
    parsed = Parsed(page(ARTICLE, sentences, title="article.txt"))
    assert parsed.text == ARTICLE
    assert parsed.marks == [sentence.text for sentence in sentences]
    marks = [attributes for tag, attributes in parsed.tags if tag == "mark"]
    assert [mark["class"] for mark in marks] == [str(sentence.prediction.label) for sentence in sentences]
    assert all(mark["tabindex"] == "0" and mark["dir"] == "rtl" for mark in marks)
    ids = [attributes.get("id") for _, attributes in parsed.tags if attributes.get("role") == "tooltip"]
    assert [mark["aria-describedby"] for mark in marks] == ids
    assert ("html", {"lang": "ar", "dir": "rtl"}) in parsed.tags


def test_confidence_and_second_act_stand_in_the_note() -> None:
    article = "نفى الوزير. اتهمهم."
    both = sentence(article, "نفى الوزير.", prediction(secondary=Label.ACCUSATION))
    cut = sentence(article, "اتهمهم.", prediction(Label.ACCUSATION, truncated=True))
    parsed = Parsed(tagged_html(article, [both, cut]))
    assert parsed.notes == [
        "نفي denial · الثقة confidence \u200e94% · فعل ثانٍ second act: اتهام accusation \u200e2%",
        "اتهام accusation · الثقة confidence \u200e94% · حُكم عليها من بدايتها long: judged by its beginning",
    ]
    printed = [attributes["data-note"] for tag, attributes in parsed.tags if tag == "mark"]
    assert printed == ["نفي \u200e94% · اتهام \u200e2%", "اتهام \u200e94% · من بدايته"]


def test_the_legend_counts() -> None:
    article = "نفى. نفت. اتهم."
    sentences = [
        sentence(article, "نفى.", prediction(secondary=Label.REGRET)),
        sentence(article, "نفت."),
        sentence(article, "اتهم.", prediction(Label.ACCUSATION)),
    ]
    legend = tagged_html(article, sentences).partition("<table")[2]
    rows = re.findall(r'class="act (\w+)">.*?</th><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td>', legend)
    assert rows == [
        ("accusation", "1", "33%", "–"),
        ("denial", "2", "67%", "–"),
        ("regret", "0", "0%", "1"),
        ("factual_report", "0", "0%", "–"),
    ]


@given(st.text(max_size=60), st.lists(st.integers(0, 60), max_size=8), st.text(max_size=20))
def test_any_text_is_shown_and_does_nothing(article: str, cuts: list[int], title: str) -> None:
    cuts = sorted({cut for cut in cuts if cut <= len(article)})
    spans = list(itertools.pairwise(cuts))[::2]
    sentences = [TaggedSentence(article[start:end], start, end, prediction()) for start, end in spans]
    document = page(article, sentences, title=title)
    document.encode()  # nothing in it that UTF-8 cannot hold
    parsed, empty = Parsed(document), Parsed(page("", [], title=""))
    # An article adds marks and their notes, and no other element.
    assert len(parsed.marks) == len(sentences)
    added = [tag for tag, _ in parsed.tags if tag not in ("mark", "span", "b")]
    assert added == [tag for tag, _ in empty.tags if tag not in ("mark", "span", "b")]
    names = {name for tag, attributes in parsed.tags if tag == "mark" for name in attributes}
    assert names <= {"class", "dir", "tabindex", "aria-describedby", "data-act", "data-note"}
    # The text is the article's, but for line ends, unshowable characters and invisible bidi controls.
    assert len(parsed.text) <= len(article)
    plain = re.sub("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", "", article)
    shown = parsed.text.replace("\N{REPLACEMENT CHARACTER}", "").replace("\n", "")
    assert shown == plain.replace("\N{REPLACEMENT CHARACTER}", "").replace("\n", "")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<script>alert('1')</script> &amp;", "&lt;script&gt;alert(&#x27;1&#x27;)&lt;/script&gt; &amp;amp;"),
        ('"a"', "&quot;a&quot;"),
        ("a\r\nb\rc\u2028d\x0be\tf", "a\nb\nc\nd\ne\tf"),
        ("\0\x1b\x9b\ud800", "\N{REPLACEMENT CHARACTER}" * 4),
        ("\u202eabc\u202c\u2067\u2069", "abc"),
    ],
)
def test_text_as_html(text: str, shown: str) -> None:
    assert text_html(text) == shown


def test_the_page_is_self_contained_and_may_do_nothing() -> None:
    document = page("نفى <script>x</script>", [], title='</title><script src="//x">')
    digest = base64.b64encode(hashlib.sha256(stylesheet().encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert document.index(f'content="{policy}"') < document.index("<style>")
    assert f"<style>{stylesheet()}</style>" in document
    assert "</" not in stylesheet()
    tags = Parsed(document).tags
    assert not {tag for tag, _ in tags} & {"script", "link", "img", "iframe", "object", "base", "form"}
    names = {name for _, attributes in tags for name in attributes}
    assert not [name for name in names if name in ("src", "href", "style") or name.startswith("on")]
    for loading in ("@import", "url(", "@font-face"):
        assert loading not in stylesheet()


def test_sentences_of_another_article_are_refused() -> None:
    with pytest.raises(ValueError, match="sentences") as caught:
        page("نفى الوزير", [TaggedSentence("نفت", 0, 3, prediction())], title="")
    assert str(caught.value) == (
        "sentences[0]: found 'نفت' at 0:3, expected the article's own sentences, in order; give those that "
        "tag returned for it"
    )
    article = "نفى. نفت."
    with pytest.raises(ValueError, match=r"sentences\[1\]"):
        page(article, [sentence(article, "نفت."), sentence(article, "نفى.")], title="")


def test_the_command_writes_the_page_beside_its_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = tmp_path / "out.html"
    assert (
        main(["tag", str(ROOT / "examples" / "article.txt"), "--format", "jsonl", "--html", str(written)])
        == 0
    )
    rows = capsys.readouterr().out.splitlines()
    document = written.read_text(encoding="utf-8")
    assert len(rows) == document.count("<mark ")
    assert "<title>article.txt</title>" in document


def test_bad_input_leaves_no_page(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello", encoding="utf-8")
    assert main(["tag", str(tmp_path / "a.txt"), "--html", str(tmp_path / "out.html")]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_the_wheel_holds_the_page(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    files = [path.name for path in (ROOT / "src" / "tasrih" / "page").iterdir()]
    assert {f"tasrih/page/{name}" for name in files} <= set(names)


# Colours. Machado, Oliveira and Fernandes (2009): how a complete lack of one kind of cone sees linear RGB.
SIGHTS = {
    "all cones": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.01182, 0.04294, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.3039),
    ),
}


def colour(name: str) -> list[float]:
    """A colour of the style sheet, as linear RGB."""
    found = re.search(rf"--{name}: #(\w{{6}});", stylesheet())
    assert found
    values = [int(found[1][i : i + 2], 16) / 255 for i in (0, 2, 4)]
    return [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in values]


def luminance(rgb: list[float]) -> float:
    return 0.2126 * rgb[0] + 0.7152 * rgb[1] + 0.0722 * rgb[2]


def contrast(one: list[float], other: list[float]) -> float:
    """WCAG 2's contrast ratio."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def lab(rgb: list[float]) -> list[float]:
    """CIELAB under D65."""
    rows = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
    white = (0.9505, 1.0, 1.089)
    xyz = [sum(a * b for a, b in zip(row, rgb, strict=True)) / w for row, w in zip(rows, white, strict=True)]
    x, y, z = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in xyz)
    return [116 * y - 16, 500 * (x - y), 200 * (y - z)]


@pytest.mark.parametrize("sight", SIGHTS)
def test_acts_are_told_apart_with_any_colour_vision(sight: str) -> None:
    seen = {
        label: lab(
            [
                min(max(sum(a * b for a, b in zip(row, colour(label), strict=True)), 0), 1)
                for row in SIGHTS[sight]
            ]
        )
        for label in LABELS
    }
    for one, other in itertools.combinations(LABELS, 2):
        distance = sum((a - b) ** 2 for a, b in zip(seen[one], seen[other], strict=True)) ** 0.5
        assert distance > 15, (one, other, distance)  # 2.3 is just noticeable


def test_acts_are_told_apart_without_colours() -> None:
    lines = re.findall(r"^\.(\w+) \{ --line: (\w+);", stylesheet(), re.MULTILINE)
    assert [name for name, _ in lines] == [str(label) for label in LABELS]
    assert len({line for _, line in lines}) == len(LABELS)
    assert "content: attr(data-act)" in stylesheet()


@pytest.mark.parametrize("label", LABELS)
def test_text_and_lines_have_contrast(label: Label) -> None:
    assert contrast(colour("ink"), colour(f"{label}-tint")) > 12
    assert contrast(colour("quiet"), colour(f"{label}-tint")) > 4.5  # the act's name, WCAG AA
    assert contrast(colour(label), [1, 1, 1]) > 3  # graphics, WCAG AA
