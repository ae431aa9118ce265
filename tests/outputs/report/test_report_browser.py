"""The report in a real browser: looked at, filtered, gone through by keyboard, attacked.

Needs Chromium and its driver (Debian: `chromium`, `chromium-driver`); the check of accessibility
needs axe-core, whose `axe.min.js` CLIPCLI_AXE names. Tests are skipped where these are missing.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from command import PATIENCE, PHOTOS
from PIL import Image
from selenium import webdriver
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait
from web_server import serve

from clipcli.errors import FailureCode
from clipcli.heads.results import Failure, LabelScore, Prediction, Result
from clipcli.images.options import ImageOptions
from clipcli.images.thumbnails import thumbnails
from clipcli.outputs.report.writer import Report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
if not (CHROMIUM and DRIVER):
    pytest.skip("needs Chromium and its driver", allow_module_level=True)

LABELS = ("cat", "cup of coffee", "</script><script>alert('label')</script>")
HOSTILE = {
    10: "photos/<img src=x onerror=alert(1)>.png",
    11: "</script><script>alert(1)</script>",
    12: "<svg onload=alert(1)>'\"><iframe src=javascript:alert(1)>",
}
COUNT = 60
SECONDS = 60  # after which a page does no more of what a key or a click does
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--disable-dev-shm-usage",
)


def result(index: int) -> Result:
    """Every twentieth failed, the first five unknown, the others more and more sure."""
    name = HOSTILE.get(index, f"photos/{index * 7 % COUNT:02}.jpg")
    if index % 20 == 19:
        return Failure(index, name, FailureCode.DAMAGED, "damaged <b>(truncated)</b>")
    share = 0.4 + index / 100
    order = LABELS[index % 3], LABELS[(index + 1) % 3], LABELS[(index + 2) % 3]
    shares = share, 0.75 * (1 - share), 0.25 * (1 - share)
    scores = tuple(LabelScore(label, part, 0.3) for label, part in zip(order, shares, strict=True))
    return Prediction(index, name, scores, None if index < 5 else order[0])


RESULTS = [result(index) for index in range(COUNT)]


def write(path: Path, results: list[Result], truth: str | None = None) -> Path:
    pictures = [
        thumbnails(file.read_bytes(), ImageOptions()) for file in sorted(PHOTOS.glob("*.*g"))
    ]
    made = {"model": "<b>tiny</b>", "labels": LABELS}
    with Report(path, "<i>Pets</i>", LABELS, made) as report:
        for one in results:
            picture = pictures[one.index % len(pictures)]
            if isinstance(one, Prediction):
                report.add_thumbnail(one.index, *picture)
            report.add(one, truth)
        report.finish()
    return path


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    profile = tmp_path_factory.mktemp("profile")
    for option in (*OPTIONS, f"--user-data-dir={profile}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # Told where the driver is, Selenium downloads none.
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    driver.set_script_timeout(PATIENCE)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def judged_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("report") / "report.html", RESULTS, truth="cat")


IN_SIGHT = """(() => {
    const box = document.activeElement.getBoundingClientRect();
    return box.top >= 0 && box.bottom <= innerHeight;
})()"""


class Page:
    """A report that is open in the browser."""

    def __init__(self, driver: Any, file: Path) -> None:
        self.driver = driver
        self.size(1280, 900)
        self.colours("light")
        driver.get_log("browser")
        driver.get_log("performance")
        driver.get(file.as_uri())

    def run(self, script: str, *values: object) -> Any:
        return self.driver.execute_script(script, *values)

    def size(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def colours(self, scheme: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def find(self, selector: str) -> Any:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def press(self, *keys: str) -> None:
        webdriver.ActionChains(self.driver).send_keys(*keys).perform()

    def wait_for(self, script: str) -> Any:
        wait = WebDriverWait(self.driver, SECONDS, poll_frequency=0.02)
        return wait.until(lambda _: self.run(f"return {script}"), script)

    def expect(self, read: Callable[[], object], expected: object) -> None:
        """Assert what is read, once the page has had the time for what a key or a click does."""
        with suppress(TimeoutException):
            wait = WebDriverWait(self.driver, SECONDS, poll_frequency=0.02)
            wait.until(lambda _: read() == expected)
        assert read() == expected

    def text(self, selector: str) -> str:
        return str(self.find(selector).text)

    @property
    def names(self) -> list[str]:
        """Of the cards that exist, which are those near the window."""
        script = "return [...document.querySelectorAll('.card')].map((card) => card.title)"
        found: list[str] = self.run(script)
        return found

    @property
    def count(self) -> str:
        return self.text("#count")

    @property
    def focused(self) -> str:
        """The name of the image whose card has the focus."""
        return str(self.run("return document.activeElement.title"))

    def expect_shown(self, *results: Result) -> None:
        """Assert that these images come to be shown, in this order, as far as the window goes."""
        names = [result.name for result in results]
        total = f"{COUNT} images" if len(names) == COUNT else f"{len(names)} of {COUNT} images"

        def shown() -> tuple[str, list[str]]:
            near = self.names
            as_expected = len(near) >= min(8, len(names)) and near == names[: len(near)]
            return self.count, names if as_expected else near

        self.expect(shown, (total, names))

    def expect_focus(self, name: str) -> None:
        """Assert that the card of this image gets the focus, where it can be seen."""
        self.expect(lambda: self.focused, name)
        self.wait_for(IN_SIGHT)


@pytest.fixture
def page(chromium: Any, judged_file: Path) -> Page:
    return Page(chromium, judged_file)


def confidence(result: Result) -> float:
    return result.best.probability if isinstance(result, Prediction) else -1


def answer(result: Result) -> str | None:
    return result.answer if isinstance(result, Prediction) else ""


def test_the_page_opens_with_all_images_in_input_order(page):
    page.expect_shown(*RESULTS)
    assert page.find("h1").text == page.driver.title == "<i>Pets</i>"
    card = page.find(".card")
    assert [bar.text for bar in card.find_elements(By.CSS_SELECTOR, ".bar .text")] == [*LABELS]
    assert card.accessible_name.startswith("wrong 00.jpg unknown cat 40.0%")


def test_thumbnails_are_drawn(page):
    script = """
    const done = arguments[0], pictures = [...document.querySelectorAll(".card img")];
    Promise.all(pictures.map((one) => one.decode().then(() => one.naturalWidth))).then(done)
    """
    widths = page.driver.execute_async_script(script)
    assert len(widths) >= 8
    assert set(widths) == {256}


@pytest.mark.parametrize(
    ("control", "value", "passes"),
    [
        ("show", "correct", lambda result: answer(result) == "cat"),
        ("show", "wrong", lambda result: answer(result) not in ("cat", "")),
        ("show", "unknown", lambda result: answer(result) is None),
        ("show", "failed", lambda result: isinstance(result, Failure)),
        ("truth", "0", lambda _: True),
        ("search", "PHOTOS/1", lambda result: result.name.startswith("photos/1")),
        ("search", "<img", lambda result: "<img" in result.name),
        ("search", "no such name", lambda _: False),
        ("lowest", "70", lambda result: confidence(result) >= 0.7 - 1e-9),
        ("highest", "50", lambda result: 0 <= confidence(result) <= 0.5 + 1e-9),
    ],
)
def test_a_filter_leaves_the_images_that_pass(page, control, value, passes):
    change(page, control, value)
    page.expect_shown(*filter(passes, RESULTS))
    assert page.find("#nothing").is_displayed() == (not any(map(passes, RESULTS)))
    page.find("button[type=reset]").click()
    page.wait_for(f"document.getElementById('count').textContent === '{COUNT} images'")
    page.expect_shown(*RESULTS)


def change(page: Page, control: str, value: str) -> None:
    """Give a control a value as its user does."""
    element = page.find(f"#{control}")
    if element.tag_name == "select":
        Select(element).select_by_value(value)
    elif control == "search":
        element.send_keys(value)
    else:
        steps = int(value) - int(element.get_attribute("value"))
        element.send_keys((Keys.ARROW_RIGHT if steps > 0 else Keys.ARROW_LEFT) * abs(steps))


@pytest.mark.parametrize(("value", "wanted"), [("0", "cat"), ("2", LABELS[2]), ("unknown", None)])
def test_a_label_leaves_the_images_with_that_answer(page, value, wanted):
    page.find(f"input[name=answer][value='{value}']").find_element(By.XPATH, "..").click()
    expected = [result for result in RESULTS if answer(result) == wanted]
    page.expect_shown(*expected)
    assert page.find(".answer:has(:checked) .number").text == str(len(expected))


def test_images_that_are_seen_by_less_than_half_say_so_and_can_be_shown_alone(chromium, tmp_path):
    score = LabelScore("cat", 0.9, 0.3)
    results: list[Result] = [
        Prediction(0, "wide.jpg", (score,), "cat", seen=0.15),
        Prediction(1, "square.jpg", (score,), "cat"),
        Prediction(2, "wider.jpg", (score,), "cat", doubt=True, seen=0.004),
    ]
    page = Page(chromium, write(tmp_path / "report.html", results))
    titles = "[...document.querySelectorAll('.title')].map((title) => title.innerText)"
    first, second, third = page.driver.execute_script(f"return {titles}")
    assert "15.0% seen" in first
    assert "seen" not in second
    assert "0.4% seen" in third
    change(page, "show", "narrow")
    page.expect(lambda: page.names, ["wide.jpg", "wider.jpg"])
    page.find(".card").click()
    page.expect(lambda: "15.0% of it looked at" in page.text("#lightbox-verdict"), True)


def test_filters_add_up(page):
    change(page, "show", "wrong")
    change(page, "lowest", "60")
    change(page, "search", "photos")
    wrong = (result for result in RESULTS if answer(result) not in ("cat", ""))
    page.expect_shown(
        *(one for one in wrong if confidence(one) > 0.599 and one.name.startswith("photos"))
    )


def test_the_lowest_confidence_pushes_the_highest(page):
    change(page, "highest", "30")
    change(page, "lowest", "31")
    page.expect(lambda: page.text("#confidence"), "31\N{EN DASH}31%")


@pytest.mark.parametrize(
    ("order", "key"),
    [
        ("most", lambda result: (-confidence(result), result.index)),
        ("least", lambda result: (confidence(result) < 0, confidence(result), result.index)),
    ],
)
def test_images_are_sorted_by_confidence_with_the_failed_last(page, order, key):
    change(page, "sort", order)
    page.expect_shown(*sorted(RESULTS, key=key))


def test_images_are_sorted_by_name_with_numbers_by_their_value(chromium, tmp_path):
    names = ["b10.jpg", "b9.jpg", "a/z.jpg", "B1.jpg"]
    results: list[Result] = [
        Failure(index, name, FailureCode.DAMAGED, "damaged") for index, name in enumerate(names)
    ]
    page = Page(chromium, write(tmp_path / "report.html", results))
    change(page, "sort", "name")
    page.expect(lambda: page.names, ["a/z.jpg", "B1.jpg", "b9.jpg", "b10.jpg"])


def test_without_true_labels_there_is_no_talk_of_right_and_wrong(chromium, tmp_path):
    page = Page(chromium, write(tmp_path / "report.html", RESULTS))
    assert not page.find("#truth-field").is_displayed()
    shown = [
        option.get_attribute("value")
        for option in page.find("#show").find_elements("tag name", "option")
    ]
    assert shown == ["", "answered", "unknown", "failed"]


def test_the_gallery_is_gone_through_by_keyboard(page):
    page.press(Keys.TAB)
    page.wait_for("document.activeElement.matches('.skip')")  # the link that skips the filters
    page.press(Keys.ENTER)
    page.wait_for("document.activeElement.id === 'gallery'")
    page.press(Keys.TAB)
    page.expect_focus(RESULTS[0].name)
    assert page.run("return document.activeElement.matches(':focus-visible')")
    assert page.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    columns = page.run("return columns")
    assert columns > 1
    keys = [
        (Keys.ARROW_RIGHT, 1),
        (Keys.ARROW_DOWN, 1 + columns),
        (Keys.ARROW_LEFT, columns),
        (Keys.ARROW_UP, 0),
        (Keys.ARROW_LEFT, 0),
        (Keys.END, COUNT - 1),
        (Keys.ARROW_DOWN, COUNT - 1),
        (Keys.HOME, 0),
    ]
    for key, place in keys:
        page.press(key)
        page.expect_focus(RESULTS[place].name)
    page.press(Keys.PAGE_DOWN)
    step = page.run("return columns * Math.floor(innerHeight / rowHeight)")
    assert 0 < step < COUNT - 1
    page.expect_focus(RESULTS[step].name)
    # One stop for Tab, whichever card it is, and in its place among the others.
    assert page.run("return document.querySelectorAll('.card[tabindex=\"0\"]').length") == 1


def test_the_lightbox_is_used_by_keyboard_and_gives_the_focus_back(page):
    page.run("document.querySelector('.card').focus()")
    page.press(Keys.ARROW_RIGHT)
    page.expect_focus(RESULTS[1].name)
    page.press(Keys.ENTER)
    page.expect(lambda: page.text("#lightbox-name"), RESULTS[1].name)
    assert page.find("#lightbox").is_displayed()
    for place in range(3, 21):
        page.press(Keys.ARROW_RIGHT)
        page.expect(lambda: page.text("#lightbox-place"), f"{place} of {COUNT}")
    assert page.text("#lightbox-verdict") == "failed: damaged <b>(truncated)</b>"
    assert not page.find("#lightbox-scores").is_displayed()
    page.press(Keys.ARROW_LEFT)
    page.expect(lambda: page.text("#lightbox-place"), f"19 of {COUNT}")
    # Tab stays within: a page behind a lightbox is out of reach.
    for _ in range(5):
        page.run("before = document.activeElement")
        page.press(Keys.TAB)
        page.wait_for("document.activeElement !== before")
        inside = (
            "document.activeElement === document.body || document.activeElement.closest('dialog')"
        )
        assert page.run(f"return Boolean({inside})")
    page.press(Keys.ESCAPE)
    page.expect_focus(RESULTS[18].name)
    assert not page.find("#lightbox").is_displayed()


def test_the_lightbox_shows_the_whole_name_and_every_score(page):
    change(page, "search", "<img")
    page.expect(lambda: page.names, [HOSTILE[10]])
    page.find(".card").click()
    page.expect(lambda: page.text("#lightbox-name"), HOSTILE[10])
    rows = page.driver.find_elements(By.CSS_SELECTOR, "#lightbox-scores tbody tr")
    cells = [[cell.text for cell in row.find_elements(By.TAG_NAME, "td")] for row in rows]
    assert cells == [
        [LABELS[1], "0.5000", "0.3000"],
        [LABELS[2], "0.3750", "0.3000"],
        [LABELS[0], "0.1250", "0.3000"],
    ]
    assert page.find("#lightbox-verdict").text == "cup of coffee 50.0% · wrong: it is cat"
    page.press(Keys.ARROW_RIGHT)  # there is no other
    assert page.find("#lightbox-place").text == "1 of 1"
    page.find("#close").click()
    page.expect_focus(HOSTILE[10])
    assert not page.find("#lightbox").is_displayed()


SHAPES = {"panorama.png": (6000, 900), "tall.png": (600, 4000), "photo.png": (1500, 1000)}
SMALL = "icon.png"


@pytest.fixture(scope="module")
def shapes_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of images of unusual shapes, the last of which has no large picture and no file."""
    folder = tmp_path_factory.mktemp("shapes")
    scores = (LabelScore("cat", 1.0, 0.3),)
    with Report(folder / "report.html", "Shapes", LABELS, {}) as report:
        for index, (name, size) in enumerate({**SHAPES, SMALL: (200, 100)}.items()):
            file = io.BytesIO()
            Image.new("RGB", size, "orange").save(file, "PNG")
            name = name if name == SMALL else str(folder / name)  # noqa: PLW2901
            if name != SMALL:
                Path(name).write_bytes(file.getvalue())
            made = thumbnails(file.getvalue(), ImageOptions(), large=True)
            report.add_thumbnail(index, *made)
            report.add(Prediction(index, name, scores, "cat"))
        report.finish()
    return folder / "report.html"


@pytest.mark.parametrize("width", [390, 1280])
def test_a_tile_shows_its_whole_picture_whatever_its_shape(chromium, shapes_file, width):
    page = Page(chromium, shapes_file)
    page.size(width, 900)
    page.wait_for("document.querySelectorAll('.card img').length === 4")
    script = """
    const done = arguments[0], pictures = [...document.querySelectorAll(".card img")];
    Promise.all(pictures.map((one) => one.decode().then(() => {
        const tile = one.parentElement.getBoundingClientRect(), box = one.getBoundingClientRect();
        return [getComputedStyle(one).objectFit, tile.width / tile.height,
            box.width / tile.width, box.height / tile.height];
    }))).then(done)
    """
    for fit, shape, across, down in page.driver.execute_async_script(script):
        assert fit == "contain"
        assert [shape, across, down] == pytest.approx([4 / 3, 1, 1], rel=0.02)


def test_the_lightbox_shows_the_large_picture_and_leads_to_the_file(chromium, shapes_file):
    page = Page(chromium, shapes_file)
    page.size(1600, 1400)
    page.find(".card").click()
    page.wait_for("document.getElementById('lightbox').open")
    script = """
    const done = arguments[0], one = document.querySelector("#lightbox-picture img");
    one.decode().then(() => done([one.naturalWidth, one.naturalHeight, one.width, one.height]))
    """
    for place, (name, (width, height)) in enumerate(SHAPES.items()):
        page.expect(lambda place=place: page.text("#lightbox-place"), f"{place + 1} of 4")
        large, high, shown, shown_high = page.driver.execute_async_script(script)
        assert max(large, high) == 1024
        assert large / high == pytest.approx(width / height, rel=0.01)
        # No larger than it is and no other shape, and a wide one as large as it is.
        assert shown / shown_high == pytest.approx(width / height, rel=0.02)
        assert max(shown, shown_high) == 1024
        link = page.find("#lightbox-link")
        assert (link.text, link.get_dom_attribute("href")) == ("Open the file", f"./{name}")
        page.press(Keys.ARROW_RIGHT)
    page.expect(lambda: page.text("#lightbox-place"), "4 of 4")
    assert page.driver.execute_async_script(script)[:2] == [200, 100]
    assert not page.find("#lightbox-link").is_displayed()


def test_the_link_to_a_file_is_reached_and_followed_by_keyboard(chromium, shapes_file):
    page = Page(chromium, shapes_file)
    first = page.driver.current_window_handle
    page.run("document.querySelector('.card').focus()")
    page.press(Keys.ENTER)
    page.wait_for("document.activeElement.id === 'close'")
    page.press(Keys.TAB)
    page.wait_for("document.activeElement.id === 'lightbox-link'")
    page.press(Keys.ENTER)
    page.expect(lambda: len(page.driver.window_handles), 2)
    (other,) = set(page.driver.window_handles) - {first}
    page.driver.switch_to.window(other)
    try:
        expected = (shapes_file.parent / "panorama.png").as_uri()
        page.expect(lambda: page.driver.current_url, expected)
        assert page.run("return opener") is None
    finally:
        page.driver.close()
        page.driver.switch_to.window(first)


def test_of_thousands_of_images_only_those_near_the_window_exist(chromium, tmp_path):
    results: list[Result] = [
        Failure(index, f"{index}.jpg", FailureCode.DAMAGED, "damaged") for index in range(5000)
    ]
    page = Page(chromium, write(tmp_path / "report.html", results))
    page.run("document.querySelector('.card').focus()")
    page.run("scrollTo(0, document.documentElement.scrollHeight)")
    page.wait_for(
        "[...document.querySelectorAll('.card')].some((card) => card.title === '4999.jpg')"
    )
    assert len(page.names) < 60
    # The card with the focus is among them, so that the keyboard goes on from where it was.
    assert page.names[0] == page.focused == "0.jpg"
    places = "[...document.querySelectorAll('.gallery li')].map((item) => item.ariaPosInSet)"
    assert page.run(f"return {places}")[-1] == "5000"
    page.press(Keys.ARROW_RIGHT)
    page.expect_focus("1.jpg")


def test_the_gallery_follows_the_windows_width(page):
    wide = page.run("return columns")
    page.size(390, 844)
    page.wait_for("columns === 2")
    assert wide > 2
    overlap = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    page.wait_for(f"!({overlap})")
    assert not page.find("#filters").is_displayed()
    page.find("#filters-toggle").click()
    page.expect(page.find("#filters").is_displayed, True)


def test_colours_follow_the_system_until_the_button_is_pressed(page):
    def is_light() -> bool:
        text = page.run("return getComputedStyle(document.body).backgroundColor")
        brightness = sum(map(int, re.findall(r"\d+", text)[:3]))
        assert not 150 <= brightness <= 600
        return brightness > 600

    assert is_light()
    page.colours("dark")
    page.expect(is_light, False)
    page.expect(lambda: page.text("#theme"), "Light colours")
    page.find("#theme").click()
    page.expect(is_light, True)
    assert page.text("#theme") == "Dark colours"


def test_hostile_names_run_nothing_and_the_page_asks_for_nothing(page, judged_file):
    for place in (0, 2):
        page.find(f"input[name=answer][value='{place}']").find_element(By.XPATH, "..").click()
        page.expect_shown(*(result for result in RESULTS if answer(result) == LABELS[place]))
    page.find("button[type=reset]").click()
    page.expect_shown(*RESULTS)
    page.run("document.querySelector('details').open = true")
    page.run("openLightbox(9)")
    for name in HOSTILE.values():
        page.press(Keys.ARROW_RIGHT)
        page.expect(lambda name=name: page.text("#lightbox-name"), name)
    page.press(Keys.ESCAPE)
    page.expect_focus(HOSTILE[12])

    # An alert would have made each of these calls fail.
    assert page.run("return document.querySelectorAll('svg, iframe, i, b, [onerror]').length") == 0
    assert page.driver.get_log("browser") == []
    assert requested(page) == {judged_file.as_uri()}


def requested(page: Page) -> set[str]:
    """What the browser has asked for from disks and networks since the page was opened."""
    messages = (
        json.loads(entry["message"])["message"] for entry in page.driver.get_log("performance")
    )
    asked = (m["params"] for m in messages if m["method"] == "Network.requestWillBeSent")
    urls = {one["request"]["url"] for one in asked}
    # The browser's own first page may still be loading its parts.
    return {url for url in urls if not url.startswith(("data:", "chrome:"))}


@pytest.mark.parametrize(
    "attack",
    [
        "fetch(url).then(() => done('fetched'), refused)",
        "const i = new Image(); i.onload = () => done('loaded'); i.onerror = refused; i.src = url",
        "document.body.innerHTML = `<img src=${url}>`; done('markup')",
        "const s = document.createElement('script'); s.text = 'done(1)'; document.body.append(s)",
        # Not at once: what the driver itself runs may evaluate text.
        "setTimeout(() => { try { eval('1'); done('evaluated') } catch { refused() } })",
    ],
    ids=["fetch", "image", "markup", "script", "eval"],
)
def test_what_finds_its_way_in_all_the_same_is_refused(page, attack):
    script = """
    const url = arguments[0], done = arguments[1], refused = () => done("refused");
    try { %s } catch { refused() }
    """
    with serve({}) as server:
        outcome = page.driver.execute_async_script(script % attack, server.url("/beacon"))
        assert (outcome, server.paths) == ("refused", [])


@pytest.fixture(scope="module")
def axe() -> str:
    file = Path(os.environ.get("CLIPCLI_AXE", ""))
    if not file.is_file():
        pytest.skip("needs axe-core: CLIPCLI_AXE names its axe.min.js")
    return file.read_text(encoding="utf-8")


def narrow(page: Page) -> None:
    page.size(390, 844)
    page.wait_for("columns === 2")
    page.find("#filters-toggle").click()
    page.expect(page.find("#filters").is_displayed, True)


def details(page: Page) -> None:
    page.find("summary").click()
    page.wait_for("document.querySelector('details').open")


def lightbox(page: Page) -> None:
    page.find(".card").click()
    page.wait_for("document.getElementById('lightbox').open")


def linked(page: Page) -> None:
    page.run("images[0].link = './cat.jpg'")
    lightbox(page)
    page.expect(lambda: page.text("#lightbox-link"), "Open the file")


def nothing(page: Page) -> None:
    change(page, "search", "no such name")
    page.expect_shown()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "look",
    [pytest.param(lambda _page: None, id="gallery"), details, lightbox, linked, nothing, narrow],
)
def test_axe_finds_no_barrier(page: Page, axe: str, scheme: str, look: Callable[[Page], None]):
    page.colours(scheme)
    other = {"light": "Dark colours", "dark": "Light colours"}[scheme]
    page.expect(lambda: page.text("#theme"), other)
    look(page)
    page.run(axe)
    found = page.driver.execute_async_script("axe.run().then(arguments[0])")
    assert len(found["passes"]) > 20
    assert [
        (one["impact"], one["id"], [node["html"] for node in one["nodes"]])
        for one in found["violations"]
    ] == []
