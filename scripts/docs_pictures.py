"""Make the README's pictures and its evaluation anew, with the bundled model as it is now.

    python scripts/docs_pictures.py [--photos FOLDER]

`docs/explain.jpg` and `docs/report.png` (which takes Chromium) are made of the example photos and
scikit-image's. FOLDER holds the photos of the evaluation and their `labels.tsv`: the README's two
tables, `docs/eval-confusion.png` and `docs/eval-reliability.svg`. Look at each of them afterwards.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import skimage
from PIL import Image

ROOT = Path(__file__).parents[1]
DOCS, README, PHOTOS = ROOT / "docs", ROOT / "README.md", ROOT / "examples" / "photos"
SAMPLES = Path(skimage.__file__).parent / "data"
TEMPLATE = "a photo of a {}."
SIDE = 300

# What the page shows, in its order, and a file that is none.
SHOWN = (
    *("brick.png", "chelsea.png", "clock_motion.png", "coffee.png", "grass.png"),
    *("motorcycle_left.png", "rocket.jpg"),
)
LABELS = ("cat", "espresso", "rocket", "motorcycle", "clock", "grass", "brick wall")
WINDOW, WIDTH = (1200, 833), 1000

# Labels of the photos that are of one of ten kinds.
KINDS = {
    "animal": "baboon, bison, brown bear, camel, cougar, Egyptian cat, elephant, gazelle, German"
    " shepherd, guinea pig, lion, orangutan, ox, pig, red panda, salamander, standard poodle",
    "bird": "albatross, black stork, goose, king penguin",
    "building": "cliff dwelling, lighthouse, obelisk, thatched roof, water tower",
    "clothes": "academic gown, apron, bikini, bow tie, cardigan, fur coat, kimono, military"
    " uniform, miniskirt, poncho",
    "food": "banana, bell pepper, cauliflower, espresso, ice cream, lemon, mashed potato, meatloaf,"
    " mushroom, orange, pomegranate, pot pie, pretzel",
    "insect": "dragonfly, fly, ladybug, mantis, stick insect",
    "kitchen utensil": "teapot, water jug, wok",
    "sea animal": "American lobster, brain coral, dugong, goldfish, spiny lobster",
    "sports equipment": "basketball, dumbbell, fishing reel, punching bag, rugby ball, snorkel",
    "vehicle": "gondola, lifeboat, moving van, police van, tractor",
}


def clipcli(*arguments: str | Path, cwd: Path = ROOT) -> str:
    """The command's output, with the bundled model."""
    command = [sys.executable, "-m", "clipcli", *arguments, "--model", "tiny"]
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, text=True, check=False)
    # Some images of a run may fail on purpose.
    if done.returncode not in (0, 3):
        raise SystemExit(done.returncode)
    return done.stdout


def half(file: Path) -> Image.Image:
    """The upright middle of a photo, half as wide as high."""
    with Image.open(file) as photo:
        left = (photo.width - photo.height // 2) // 2
        box = (left, 0, left + photo.height // 2, photo.height)
        return photo.convert("RGB").resize((SIDE // 2, SIDE), Image.Resampling.LANCZOS, box)


def explanation(work: Path) -> None:
    """A cat and a rocket side by side, and where each label looks."""
    picture = Image.new("RGB", (SIDE, SIDE))
    picture.paste(half(PHOTOS / "chelsea.png"), (0, 0))
    picture.paste(half(PHOTOS / "rocket.jpg"), (SIDE // 2, 0))
    picture.save(work / "both.png")
    clipcli("explain", work / "both.png", "-l", "cat", "-l", "rocket", "-o", work / "maps")
    with Image.open(work / "maps" / "explanation.png") as maps:
        maps.convert("RGB").save(DOCS / "explain.jpg", quality=92)


def report(work: Path) -> None:
    """The page of `--report`, as a browser shows it."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise SystemExit("docs/report.png takes Chromium (Debian: chromium)")
    for name in SHOWN:
        shutil.copy(SAMPLES / name, work / name)
    labels = [word for label in LABELS for word in ("-l", label)]
    line = (*SHOWN, "late.png", *labels, "-t", TEMPLATE, "--report", "report.html")
    clipcli("classify", *line, cwd=work)
    subprocess.run(
        [
            *(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *(f"--user-data-dir={work / 'profile'}", f"--screenshot={work / 'page.png'}"),
            *(f"--window-size={WINDOW[0]},{WINDOW[1]}", "--virtual-time-budget=5000"),
            (work / "report.html").as_uri(),
        ],
        check=True,
        capture_output=True,
    )
    with Image.open(work / "page.png") as page:
        size = WIDTH, WIDTH * page.height // page.width
        small = page.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    save_small(small, DOCS / "report.png")


def save_small(picture: Image.Image, file: Path) -> None:
    """A PNG of 256 colours: a third of the size, and no eye sees it."""
    picture.convert("RGB").quantize(256).save(file, optimize=True)


def abridged(table: str, rows: int = 2) -> str:
    """What `clipcli eval` prints, with the first rows of its lists alone."""
    parts = [part.splitlines() for part in table.rstrip().split("\n\n")]
    lists = ("class ", "surest mistakes")
    kept = [part[: 1 + rows] if part[0].startswith(lists) else part for part in parts]
    return "\n\n".join("\n".join(line.rstrip() for line in part) for part in kept)


def with_block(text: str, table: str) -> str:
    """A text whose block that begins like the table (by its first word) is the table."""
    first = re.escape(table.split(maxsplit=1)[0])
    changed, count = re.subn(
        rf"^```text\n{first}.*?^```$",
        lambda _: f"```text\n{table}\n```",
        text,
        flags=re.MULTILINE | re.DOTALL,
    )
    assert count == 1, f"the README has {count} blocks that begin with {first}"
    return changed


def evaluation(photos: Path, work: Path) -> None:
    """The README's tables and figures of an evaluation."""
    one = clipcli("eval", "labels.tsv", "-t", TEMPLATE, "--plots", work / "all", cwd=photos)
    sets = [word for name in ("{}", TEMPLATE, "openai7") for word in ("--compare-templates", name)]
    several = clipcli("eval", "labels.tsv", *sets, cwd=photos)
    text = with_block(README.read_text(encoding="utf-8"), abridged(one))
    comparison = abridged(several.partition("\n\n")[0])
    README.write_text(with_block(text, comparison), encoding="utf-8")
    shutil.copy(work / "all" / "reliability.svg", DOCS / "eval-reliability.svg")

    kinds = {label: kind for kind, labels in KINDS.items() for label in labels.split(", ")}
    rows = (photos / "labels.tsv").read_text(encoding="utf-8").splitlines()[1:]
    of_kind = [row.split("\t") for row in rows if row.split("\t")[1] in kinds]
    assert len(of_kind) == len(kinds), "labels of KINDS that no photo has"
    table = "\n".join(f"{photos / file}\t{kinds[label]}" for file, label in of_kind)
    (work / "kinds.tsv").write_text(f"file\tlabel\n{table}\n", encoding="utf-8")
    clipcli("eval", work / "kinds.tsv", "-t", TEMPLATE, "--plots", work / "kinds")
    with Image.open(work / "kinds" / "confusion.png") as confusion:
        save_small(confusion, DOCS / "eval-confusion.png")


def main(arguments: Sequence[str] | None = None) -> None:
    """Make all that there is material for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photos", type=Path, help="of the evaluation, with their labels.tsv")
    photos: Path | None = parser.parse_args(arguments).photos
    with tempfile.TemporaryDirectory() as folder:
        explanation(Path(folder))
        report(Path(folder))
        if photos is not None:
            evaluation(photos.resolve(), Path(folder))


if __name__ == "__main__":
    main()
