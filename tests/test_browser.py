"""The page and the report in a real Chromium. Skipped where there is none.

python tests/test_browser.py docs/screenshot.png      # the picture in the README
"""

import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.expected_conditions import staleness_of
from selenium.webdriver.support.wait import WebDriverWait

from tasrih import Classifier, Label
from tasrih.report import page
from tasrih.server import Limits
from tasrih.server.run import server

ARTICLE = (Path(__file__).parents[1] / "examples" / "article.txt").read_text(encoding="utf-8")
ATTACK = (
    "نفى الوزير <script>window.pwned = 1</script> ما قيل. CNN: \u202eاتهمت المعارضة الحكومة بالفساد.\n"
    '</textarea><img src=x onerror="window.pwned = 1"><style>body { display: none }</style> اعتذر الرئيس.\n'
)
BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
    "--window-size=1100,1100", "--force-device-scale-factor=1",
)  # fmt: skip

pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER),
    reason="no Chromium here: install chromium and chromium-driver to run these tests",
)

# The colours of page/style.css, as a browser names them.
TINTS = {
    Label.ACCUSATION: "rgba(253, 230, 214, 1)",
    Label.DENIAL: "rgba(220, 237, 250, 1)",
    Label.REGRET: "rgba(217, 243, 234, 1)",
    Label.FACTUAL_REPORT: "rgba(243, 243, 243, 1)",
}
LINES = {
    Label.ACCUSATION: "solid",
    Label.DENIAL: "dashed",
    Label.REGRET: "double",
    Label.FACTUAL_REPORT: "dotted",
}


@contextmanager
def chromium() -> Generator[webdriver.Chrome]:
    with tempfile.TemporaryDirectory() as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = str(BROWSER)
        for option in (*OPTIONS, f"--user-data-dir={profile}"):
            options.add_argument(option)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = webdriver.Chrome(options, webdriver.ChromeService(str(DRIVER)))
        try:
            yield driver
        finally:
            driver.quit()


@contextmanager
def served(classifier: Classifier) -> Generator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = server(classifier, Limits())
        thread = threading.Thread(target=one.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            one.should_exit = True
            thread.join(30)


def paste_and_tag(driver: webdriver.Chrome, address: str, article: str) -> None:
    driver.get(address)
    area = driver.find_element(By.ID, "text")
    area.click()
    driver.execute_cdp_cmd("Input.insertText", {"text": article})  # at once, as a paste does it
    driver.find_element(By.CSS_SELECTOR, "button").click()
    WebDriverWait(driver, 10).until(staleness_of(area))


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier.load()


@pytest.fixture(scope="module")
def browser() -> Generator[webdriver.Chrome]:
    with chromium() as driver:
        yield driver


@pytest.fixture(scope="module")
def address(classifier: Classifier) -> Generator[str]:
    with served(classifier) as address:
        yield address


@pytest.fixture(params=["page", "report"])
def show(
    request: pytest.FixtureRequest,
    browser: webdriver.Chrome,
    address: str,
    classifier: Classifier,
    tmp_path: Path,
) -> Any:
    """Return a function that shows an article: pasted into the server's page, or as a file on the disk."""

    def paste(article: str) -> None:
        paste_and_tag(browser, address, article)

    def open_file(article: str) -> None:
        path = tmp_path / "report.html"
        path.write_text(page(article, classifier.tag(article), title="مقال.txt"), encoding="utf-8")
        browser.get(path.as_uri())

    return paste if request.param == "page" else open_file


def marks(driver: webdriver.Chrome) -> list[WebElement]:
    return driver.find_elements(By.CSS_SELECTOR, ".article mark")


def visible_notes(driver: webdriver.Chrome) -> list[str]:
    notes = driver.find_elements(By.CSS_SELECTOR, ".note")
    return [note.text for note in notes if note.is_displayed()]


def complaints(driver: webdriver.Chrome) -> list[str]:
    """What the browser has logged, refusals by the content security policy among it."""
    return [entry["message"] for entry in driver.get_log("browser") if "favicon" not in entry["message"]]


def test_sentences_are_coloured_by_their_act(
    show: Any, browser: webdriver.Chrome, classifier: Classifier
) -> None:
    complaints(browser)
    show(ARTICLE)
    expected = classifier.tag(ARTICLE)
    found = marks(browser)
    assert [mark.get_property("textContent") for mark in found] == [sentence.text for sentence in expected]
    for mark, sentence in zip(found, expected, strict=True):
        assert mark.value_of_css_property("background-color") == TINTS[sentence.prediction.label]
        assert mark.value_of_css_property("border-bottom-style") == LINES[sentence.prediction.label]
    assert len({mark.value_of_css_property("border-bottom-color") for mark in found}) == len(Label)
    assert complaints(browser) == []


def test_lines_and_sentences_run_from_right_to_left(show: Any, browser: webdriver.Chrome) -> None:
    show("نفى الوزير. CNN: اتهمت المعارضة الحكومة. اعتذر BBC.\nنفت الوزارة الخبر.")
    boxes = [mark.rect for mark in marks(browser)]
    assert len(boxes) == 4
    for right, left in ((boxes[0], boxes[1]), (boxes[1], boxes[2])):
        assert right["y"] == left["y"]
        assert right["x"] >= left["x"] + left["width"] - 1
    assert boxes[3]["y"] > boxes[2]["y"]  # the article's own line break
    edges = [box["x"] + box["width"] for box in (boxes[0], boxes[3])]
    assert edges[0] == pytest.approx(edges[1], abs=1)  # both lines begin at the right edge
    legend = browser.find_element(By.CSS_SELECTOR, ".legend").rect
    assert legend["x"] + legend["width"] < boxes[2]["x"]


def test_confidence_and_second_act_by_pointer_and_by_keyboard(
    show: Any, browser: webdriver.Chrome, classifier: Classifier
) -> None:
    show(ARTICLE)
    sentences = classifier.tag(ARTICLE)
    number = next(i for i, sentence in enumerate(sentences) if sentence.prediction.secondary)
    prediction = sentences[number].prediction
    assert prediction.secondary
    assert visible_notes(browser) == []
    webdriver.ActionChains(browser).move_to_element(marks(browser)[number]).perform()
    (note,) = visible_notes(browser)
    for part in (
        prediction.label.arabic,
        f"{prediction.confidence:.0%}",
        prediction.secondary.arabic,
        f"{prediction.scores[prediction.secondary]:.0%}",
    ):
        assert part in note
    webdriver.ActionChains(browser).move_to_element(browser.find_element(By.CSS_SELECTOR, "h1")).perform()
    assert visible_notes(browser) == []
    browser.find_element(By.CSS_SELECTOR, "h1").click()
    for mark in marks(browser)[:3]:  # Tab goes from sentence to sentence, in the order of reading
        webdriver.ActionChains(browser).send_keys(Keys.TAB).perform()
        assert browser.switch_to.active_element == mark
        assert mark.value_of_css_property("outline-style") == "solid"
        (note,) = visible_notes(browser)
        described = browser.find_element(By.ID, str(mark.get_attribute("aria-describedby")))
        assert described.text == note


def test_markup_in_an_article_stays_text(show: Any, browser: webdriver.Chrome) -> None:
    complaints(browser)
    show(ATTACK)
    assert browser.execute_script("return window.pwned") is None
    article = browser.find_element(By.CSS_SELECTOR, ".article")
    for text in (
        "<script>window.pwned = 1</script>",
        "</textarea><img src=x",
        "<style>body { display: none }</style>",
    ):
        assert text in article.text
    assert (
        browser.find_elements(By.CSS_SELECTOR, ".article :not(mark, .note, .note *), script, img, svg") == []
    )
    for area in browser.find_elements(By.ID, "text"):
        assert str(area.get_property("value")).startswith("نفى الوزير <script>")
    assert complaints(browser) == []


def test_the_policy_refuses_what_would_get_into_the_page(show: Any, browser: webdriver.Chrome) -> None:
    show("نفى الوزير.")
    refused = browser.execute_async_script(
        """
        const done = arguments[arguments.length - 1], refused = [];
        document.addEventListener("securitypolicyviolation", event => refused.push(event.effectiveDirective));
        const add = (tag, values) => document.body.append(Object.assign(document.createElement(tag), values));
        add("script", { textContent: "window.pwned = 1" });
        add("script", { src: "https://example.invalid/a.js" });
        add("style", { textContent: "body { display: none }" });
        add("img", { src: "https://example.invalid/a.png" });
        document.body.setAttribute("onclick", "window.pwned = 1");
        document.body.setAttribute("style", "display: none");
        fetch("https://example.invalid/").catch(() => {});
        document.body.click();
        setTimeout(() => done(refused), 300);
        """
    )
    expected = {
        "script-src-elem",
        "script-src-attr",
        "style-src-elem",
        "style-src-attr",
        "img-src",
        "connect-src",
    }
    assert set(refused) == expected
    assert browser.execute_script("return window.pwned") is None
    assert browser.execute_script("return getComputedStyle(document.body).display") == "block"
    complaints(browser)  # these were wanted


def test_no_other_page_may_frame_it_and_its_form_goes_nowhere_else(
    browser: webdriver.Chrome, address: str, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.html"
    outside.write_text(f'<iframe src="{address}"></iframe>')
    complaints(browser)
    browser.get(outside.as_uri())
    assert any("frame-ancestors 'none'" in message for message in complaints(browser))
    browser.get(address)
    browser.execute_script(
        "const form = document.forms[0]; form.action = 'https://example.invalid/'; form.submit();"
    )
    WebDriverWait(browser, 10).until(lambda _: any("form-action 'self'" in m for m in complaints(browser)))
    assert browser.current_url == address


def test_in_print_confidence_stands_behind_each_sentence(
    show: Any, browser: webdriver.Chrome, classifier: Classifier
) -> None:
    show("نفى الوزير ما قيل.")
    confidence = classifier.classify("نفى الوزير ما قيل.").confidence
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        content = browser.execute_script(
            "return getComputedStyle(document.querySelector('mark'), '::after').content"
        )
        assert content == f'" [نفي \u200e{confidence:.0%}]"'
        assert marks(browser)[0].value_of_css_property("print-color-adjust") == "exact"
        assert not any(form.is_displayed() for form in browser.find_elements(By.CSS_SELECTOR, "form"))
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_a_narrow_screen_shows_all_of_it(show: Any, browser: webdriver.Chrome) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 360, "height": 800, "deviceScaleFactor": 1, "mobile": True},
    )
    try:
        show(ARTICLE + "ا" * 300)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_page_says_what_is_wrong(browser: webdriver.Chrome, address: str) -> None:
    paste_and_tag(browser, address, "only English")
    alert = browser.find_element(By.CSS_SELECTOR, "[role=alert]")
    assert "text: found no Arabic letter, expected an article in Arabic" in alert.text
    assert browser.find_element(By.ID, "text").get_property("value") == "only English"
    complaints(browser)  # the status 422


def test_the_screenshot(browser: webdriver.Chrome, address: str, tmp_path: Path) -> None:
    take_screenshot(browser, address, tmp_path / "screenshot.png")
    content = (tmp_path / "screenshot.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert len(content) > 20_000


def take_screenshot(driver: webdriver.Chrome, address: str, path: Path) -> None:
    """Write a picture of the example article on the server's page, with one note open."""
    paste_and_tag(driver, address, ARTICLE)
    sentence = driver.find_element(By.XPATH, "//mark[contains(@data-note, '·')]")
    webdriver.ActionChains(driver).move_to_element(sentence).perform()
    driver.save_screenshot(str(path))


if __name__ == "__main__":
    with served(Classifier.load()) as here, chromium() as one:
        take_screenshot(one, here, Path(sys.argv[1]))
