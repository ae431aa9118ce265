"""How quickly a report opens, filters, sorts and scrolls in Chromium.

    python -m benchmarks.report [--photos FOLDER] [--images 2000 10000] [--rounds 5]

Each report shows the photos over and over, under other names, and is opened from disk by a fresh
browser. Opening is all from the request to the first picture on the screen; a filter or an order,
from the event to the next picture on the screen; scrolling, the time between two pictures while
the whole gallery goes by in 200 steps.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from selenium import webdriver

from clipcli.heads.results import LabelScore, Prediction
from clipcli.images.options import ImageOptions
from clipcli.images.thumbnails import Thumbnails, thumbnails
from clipcli.outputs.report.writer import Report

PHOTOS = Path(__file__).parents[1] / "examples" / "photos"
LABELS = tuple(f"a photo of thing {number}" for number in range(10))
CHROMIUM_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--window-size=1280,900"),
)
# A control, a value, and the event that its user causes.
CHANGES = (
    *(("search", "12", "input"), ("search", "", "input"), ("lowest", "60", "input")),
    *(("lowest", "0", "input"), ("show", "wrong", "input"), ("show", "", "input")),
    *(("sort", "most", "change"), ("sort", "name", "change"), ("sort", "index", "change")),
)
ON_SCREEN = (
    "const onScreen = () => new Promise((go) => requestAnimationFrame(() => setTimeout(go)));"
)
CHANGE = f"""
{ON_SCREEN}
const [id, value, event, done] = arguments, start = performance.now();
document.getElementById(id).value = value;
document.getElementById(id).dispatchEvent(new Event(event, {{ bubbles: true }}));
onScreen().then(() => done(performance.now() - start));
"""
SCROLL = f"""
{ON_SCREEN}
const done = arguments[0], height = document.documentElement.scrollHeight, times = [];
(async () => {{
  for (let step = 0; step < 200; step++) {{
    const start = performance.now();
    scrollTo(0, height * step / 200);
    await onScreen();
    times.push(performance.now() - start);
  }}
  done(times);
}})();
"""


def write(file: Path, count: int, pictures: list[Thumbnails]) -> None:
    """A report of so many images whose scores are drawn at random."""
    random = np.random.default_rng(0)
    with Report(file, "Benchmark", LABELS, {"model": "none"}) as report:
        for index in range(count):
            shares = random.dirichlet(np.full(len(LABELS), 0.2))
            best = np.argsort(-shares)[:5]
            scores = tuple(LabelScore(LABELS[place], float(shares[place]), 0.2) for place in best)
            small, large = pictures[index % len(pictures)]
            report.add_thumbnail(index, small, large if report.wants_large else b"")
            result = Prediction(index, f"photos/{index:06}.jpg", scores, scores[0].label)
            report.add(result, str(random.choice(LABELS)))
        report.finish()


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser with a profile of its own."""
    with TemporaryDirectory() as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or "chromium"
        for option in (*CHROMIUM_OPTIONS, f"--user-data-dir={profile}"):
            options.add_argument(option)
        driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
        try:
            yield driver
        finally:
            driver.quit()


def measured(file: Path) -> tuple[float, list[float], list[float]]:
    """Seconds to open a report, milliseconds of each change and of each step of scrolling."""
    with chromium() as driver:
        start = time.perf_counter()
        driver.get(file.as_uri())
        driver.execute_async_script(f"{ON_SCREEN} onScreen().then(arguments[0])")
        opened = time.perf_counter() - start
        changes = [float(driver.execute_async_script(CHANGE, *change)) for change in CHANGES]
        return opened, changes, driver.execute_async_script(SCROLL)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--images", type=int, nargs="+", default=[2000, 10_000])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    files = sorted(file for file in options.photos.rglob("*") if file.suffix in (".jpg", ".png"))
    made = [thumbnails(file.read_bytes(), ImageOptions(), large=True) for file in files]
    pictures = [one for one in made if one.small]
    if not pictures:
        sys.exit(f"no photos in {options.photos}")

    print("| images | file | opens | filters, sorts: median, slowest | scrolls: median, slowest |")
    print("|---|---|---|---|---|")
    for count in options.images:
        with TemporaryDirectory() as folder:
            file = Path(folder) / "report.html"
            write(file, count, pictures)
            rounds = [measured(file) for _ in range(options.rounds)]
            size = file.stat().st_size / 1e6
        opened = median(one for one, _, _ in rounds)
        changes = [value for _, values, _ in rounds for value in values]
        steps = [value for _, _, values in rounds for value in values]
        print(
            f"| {count:,} | {size:.0f} MB | {opened:.2f} s"
            f" | {median(changes):.0f} ms, {max(changes):.0f} ms"
            f" | {median(steps):.0f} ms, {max(steps):.0f} ms |",
            flush=True,
        )


if __name__ == "__main__":
    main()
