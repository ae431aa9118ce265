"""Draws documents and screens: no data set needed. Their words are WordNet's glosses."""

import io
import random
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from scripts.train_tiny.arguments import parser
from scripts.train_tiny.wordnet import nouns

Colour = tuple[int, int, int]
DARK: Colour = (25, 25, 30)
LIGHT: Colour = (235, 235, 240)


class Desk:
    """What drawing needs: a random generator, fonts, and words."""

    def __init__(self, seed: int, fonts: Path, glosses: list[str]) -> None:
        self.draw = random.Random(seed)
        files = sorted(fonts.glob("*.ttf"))
        self.fonts = files
        self.fixed = [file for file in files if "Mono" in file.name or "tt" in file.name]
        self.glosses = glosses

    def font(self, size: int, *, fixed: bool = False) -> ImageFont.FreeTypeFont:
        """A font at random."""
        return ImageFont.truetype(self.draw.choice(self.fixed if fixed else self.fonts), size)

    def words(self, length: int) -> str:
        """Words of at most `length` letters."""
        text = self.draw.choice(self.glosses)
        while len(text) < length:
            text += "; " + self.draw.choice(self.glosses)
        return text[:length].strip().capitalize()

    def colour(self, low: int = 0, high: int = 255) -> Colour:
        """A colour, each part between the two."""
        red, green, blue = (self.draw.randint(low, high) for _ in range(3))
        return red, green, blue

    def sheet(self, *sizes: tuple[int, int], colour: Colour | None = None) -> Image.Image:
        """An empty page of one of the sizes; paper, if no colour is given."""
        shade = self.draw.randint(228, 255)
        return Image.new(
            "RGB",
            self.draw.choice(sizes),
            colour or (shade, shade - 3, shade - self.draw.randint(3, 14)),
        )


def write(
    page: Image.Image,
    font: ImageFont.FreeTypeFont,
    box: tuple[int, int, int, int],
    text: str,
    colour: Colour,
) -> int:
    """Sets text in lines inside a box (left, top, right, bottom); returns where it ends."""
    pen, (left, top, right, bottom) = ImageDraw.Draw(page), box
    for line in textwrap.wrap(text, max(8, int((right - left) / (font.size * 0.52)))):
        if top + font.size > bottom:
            break
        pen.text((left, top), line, font=font, fill=colour)
        top += int(font.size * 1.28)
    return top


def document(desk: Desk) -> Image.Image:
    """A page of text, in one or two columns, mostly with a heading."""
    page = desk.sheet((600, 800), (700, 500), (800, 600), (620, 877))
    size, margin = desk.draw.choice([12, 14, 16, 18, 22]), desk.draw.randint(20, 70)
    right, bottom, top = page.width - margin, page.height - margin, margin
    if desk.draw.random() < 0.6:
        heading = (margin, top, right, bottom)
        top = write(page, desk.font(size * 2), heading, desk.words(34), DARK) + 14
    font, columns = desk.font(size), desk.draw.choice([1, 1, 2])
    width = (right - margin) // columns
    for left in range(margin, margin + columns * width, width):
        at = top
        while at < bottom - 2 * size:
            box, words = (
                (left, at, left + width - 16, bottom),
                desk.words(desk.draw.randint(150, 500)),
            )
            at = write(page, font, box, words, DARK) + size
    return page


def code(desk: Desk) -> Image.Image:
    """Lines of a program or a terminal, coloured, mostly on dark."""
    dark = desk.draw.random() < 0.7
    page = desk.sheet(
        (900, 600), (800, 500), (640, 640), colour=desk.colour(10, 45) if dark else (250, 250, 248)
    )
    pen, font = ImageDraw.Draw(page), desk.font(desk.draw.choice([13, 15, 17, 20]), fixed=True)
    shades = [(220, 120, 120), (120, 220, 140), (120, 160, 240), (220, 200, 110), (200, 200, 200)]
    starts = [
        "def ",
        "for i in ",
        "if ",
        "return ",
        "import ",
        "class ",
        "$ ls ",
        "git ",
        "const ",
        "function ",
    ]
    for at in range(10, page.height - 20, int(font.size * 1.4)):
        if desk.draw.random() < 0.85:
            left = 12 + desk.draw.randint(0, 4) * font.size * 2
            for text, gap in (
                (desk.draw.choice(starts), 0),
                (desk.words(desk.draw.randint(5, 40)), font.size * 5),
            ):
                shade = desk.draw.choice(shades)
                pen.text(
                    (left + gap, at),
                    text,
                    font=font,
                    fill=shade if dark else tuple(one // 2 for one in shade),
                )
    return page


def web_page(desk: Desk) -> Image.Image:
    """A screen with a bar, perhaps a list at its side, paragraphs, cards and buttons."""
    light = desk.draw.random() < 0.7
    page = desk.sheet(
        (1000, 700),
        (800, 600),
        (1200, 700),
        colour=desk.colour(242, 255) if light else desk.colour(15, 40),
    )
    pen, ink, accent = ImageDraw.Draw(page), DARK if light else LIGHT, desk.colour(20, 230)
    font, bar = desk.font(desk.draw.choice([12, 14, 16])), desk.draw.randint(35, 70)
    pen.rectangle((0, 0, page.width, bar), fill=accent)
    for place in range(desk.draw.randint(2, 6)):
        pen.text((20 + place * 110, 14), desk.words(9), font=font, fill=(255, 255, 255))
    left = 30
    if desk.draw.random() < 0.5:
        left = 210
        for at in range(80, page.height, 30):
            pen.text((14, at), desk.words(16), font=font, fill=ink)
    screen, top = Screen(desk, page, left, ink, accent), bar + 20
    parts = [screen.paragraph, screen.cards, screen.button, screen.headline]
    while top < page.height - 70:
        top = desk.draw.choice(parts)(top)
    return page


@dataclass(frozen=True)
class Screen:
    """A web page that is being drawn: where its contents begin, and its colours."""

    desk: Desk
    page: Image.Image
    left: int
    ink: Colour
    accent: Colour

    @property
    def pen(self) -> ImageDraw.ImageDraw:
        """What draws on the page."""
        return ImageDraw.Draw(self.page)

    def paragraph(self, top: int) -> int:
        """Some sentences; returns where they end, as all parts do."""
        box = (self.left, top, self.page.width - 40, self.page.height - 20)
        words = self.desk.words(self.desk.draw.randint(80, 300))
        return write(self.page, self.desk.font(14), box, words, self.ink) + 16

    def cards(self, top: int) -> int:
        """Boxes side by side."""
        for place in range(self.desk.draw.randint(2, 4)):
            left = self.left + place * 190
            box = (left, top, left + 170, top + 110)
            self.pen.rounded_rectangle(box, 8, outline=self.accent, fill=self.desk.colour(90, 245))
            self.caption((left + 10, top + 85), 16, 13, self.ink)
        return top + 130

    def button(self, top: int) -> int:
        """A button and a field."""
        left, bottom = self.left, top + 34
        self.pen.rounded_rectangle((left, top, left + 130, bottom), 6, fill=self.accent)
        self.caption((left + 18, top + 8), 11, 14, (255, 255, 255))
        right = min(self.page.width - 30, left + 500)
        self.pen.rectangle((left + 150, top, right, bottom), outline=(150, 150, 150))
        return top + 50

    def headline(self, top: int) -> int:
        """A line in large letters."""
        self.caption((self.left, top), 25, 26, self.ink)
        return top + 44

    def caption(self, place: tuple[int, int], length: int, size: int, colour: Colour) -> None:
        """A few words."""
        self.pen.text(place, self.desk.words(length), font=self.desk.font(size), fill=colour)


def chart(desk: Desk) -> Image.Image:
    """Bars, lines, points, a pie or a histogram."""
    from matplotlib import pyplot

    numbers = np.random.default_rng(desk.draw.randrange(10**9))
    figure, axes = pyplot.subplots(figsize=desk.draw.choice([(6, 4), (5, 5), (7, 4)]))
    count = desk.draw.randint(4, 12)
    kind = desk.draw.choice(["bar", "line", "scatter", "pie", "hist", "barh"])
    if kind == "bar":
        axes.bar(
            [desk.words(6) + str(place) for place in range(count)],
            numbers.random(count),
            color=numbers.random(3),
        )
    elif kind == "line":
        for _ in range(desk.draw.randint(1, 4)):
            axes.plot(numbers.normal(size=40).cumsum())
    elif kind == "scatter":
        axes.scatter(numbers.normal(size=80), numbers.normal(size=80), c=numbers.random(80))
    elif kind == "pie":
        axes.pie(numbers.random(desk.draw.randint(3, 7)) + 0.1)
    elif kind == "hist":
        axes.hist(numbers.normal(size=300), bins=20)
    else:
        axes.barh(range(count), numbers.random(count))
    if desk.draw.random() < 0.7:
        axes.set_title(desk.words(28))
    axes.grid(desk.draw.random() < 0.4)
    written = io.BytesIO()
    figure.savefig(written, dpi=80)
    pyplot.close(figure)
    return Image.open(written).convert("RGB")


def receipt(desk: Desk) -> Image.Image:
    """A narrow slip with prices and a total, on a table."""
    slip = desk.sheet((300, 600), (280, 700), (320, 500))
    pen, font = ImageDraw.Draw(slip), desk.font(14, fixed=True)
    pen.text((40, 20), desk.words(16).upper(), font=desk.font(20, fixed=True), fill=DARK)
    for at in range(70, slip.height - 80, 22):
        pen.text((15, at), desk.words(17), font=font, fill=DARK)
        pen.text((slip.width - 75, at), f"{desk.draw.uniform(1, 99):7.2f}", font=font, fill=DARK)
    end = slip.height - 70
    pen.line((10, end, slip.width - 10, end), fill=DARK)
    pen.text((15, end + 8), "TOTAL", font=desk.font(18, fixed=True), fill=DARK)
    pen.text(
        (slip.width - 95, end + 8),
        f"{desk.draw.uniform(20, 300):7.2f}",
        font=desk.font(18, fixed=True),
        fill=DARK,
    )
    table = Image.new(
        "RGB", (slip.width + desk.draw.randint(40, 260), slip.height + 60), desk.colour(40, 200)
    )
    table.paste(slip, ((table.width - slip.width) // 2, 30))
    return table


def spreadsheet(desk: Desk) -> Image.Image:
    """A grid of numbers with a coloured head."""
    page = desk.sheet((900, 600), (1000, 650), (700, 560), colour=(255, 255, 255))
    pen, font = ImageDraw.Draw(page), desk.font(14)
    tall, wide = desk.draw.randint(22, 34), desk.draw.randint(80, 150)
    pen.rectangle((0, 0, page.width, tall), fill=desk.colour(150, 240))
    for y in range(0, page.height, tall):
        pen.line((0, y, page.width, y), fill=(190, 190, 190))
        for x in range(0, page.width, wide):
            text = desk.words(8) if x == 0 or y == 0 else str(desk.draw.randint(0, 9999))
            pen.text((x + 6, y + 4), text, font=font, fill=DARK)
    for x in range(0, page.width, wide):
        pen.line((x, 0, x, page.height), fill=(190, 190, 190))
    return page


def slide(desk: Desk) -> Image.Image:
    """A title and a few points, large."""
    plain = desk.draw.random() < 0.5
    page = desk.sheet((960, 540), (800, 600), colour=(255, 255, 255) if plain else desk.colour())
    pen, ink = ImageDraw.Draw(page), DARK if plain or np.asarray(page).mean() > 127 else LIGHT
    pen.text((50, 50), desk.words(28), font=desk.font(44), fill=ink)
    for place in range(desk.draw.randint(2, 5)):
        pen.text((70, 150 + place * 70), "• " + desk.words(40), font=desk.font(28), fill=ink)
    return page


def chat(desk: Desk) -> Image.Image:
    """Bubbles of a conversation, left and right, on a telephone's screen."""
    light = desk.draw.random() < 0.7
    page = desk.sheet(
        (400, 800),
        (380, 700),
        (420, 640),
        colour=desk.colour(225, 250) if light else desk.colour(10, 40),
    )
    pen, mine, yours = ImageDraw.Draw(page), desk.colour(60, 200), desk.colour(215, 250)
    pen.rectangle((0, 0, page.width, 56), fill=mine)
    pen.text((60, 18), desk.words(14), font=desk.font(18), fill=(255, 255, 255))
    at = 76
    while at < page.height - 80:
        right, lines = desk.draw.random() < 0.5, desk.draw.randint(1, 4)
        left, deep = (110 if right else 14), 16 + lines * 20
        pen.rounded_rectangle(
            (left, at, left + page.width - 130, at + deep), 14, fill=mine if right else yours
        )
        write(
            page,
            desk.font(14),
            (left + 12, at + 8, left + page.width - 140, at + deep),
            desk.words(lines * 32),
            LIGHT if right else DARK,
        )
        at += deep + desk.draw.randint(8, 26)
    return page


KINDS: dict[str, Callable[[Desk], Image.Image]] = {
    "document": document, "code": code, "web_page": web_page, "chart": chart,
    "receipt": receipt, "spreadsheet": spreadsheet, "slide": slide, "chat": chat,
}  # fmt: skip


def photographed(desk: Desk, page: Image.Image) -> Image.Image:
    """The page, now and then lying askew, blurred or unevenly lit."""
    if desk.draw.random() < 0.35:
        ground = Image.new(
            "RGB", (int(page.width * 1.25), int(page.height * 1.2)), desk.colour(30, 190)
        )
        turned = page.convert("RGBA").rotate(
            desk.draw.uniform(-9, 9), expand=True, resample=Image.Resampling.BICUBIC
        )
        ground.paste(
            turned,
            ((ground.width - turned.width) // 2, (ground.height - turned.height) // 2),
            turned,
        )
        page = ground
    if desk.draw.random() < 0.4:
        page = page.filter(ImageFilter.GaussianBlur(desk.draw.uniform(0.3, 1.2)))
    if desk.draw.random() < 0.3:
        light = np.linspace(desk.draw.uniform(0.6, 1), desk.draw.uniform(0.6, 1), page.width)[
            None, :, None
        ]
        page = Image.fromarray((np.asarray(page) * light).clip(0, 255).astype(np.uint8))
    return page


def main() -> None:
    """Runs the script."""
    options = parser(__doc__, "data", "wordnet")
    options.add_argument(
        "--fonts", type=Path, required=True, metavar="FOLDER", help="folder of .ttf files"
    )
    options.add_argument("--part", choices=("train", "test"), required=True)
    options.add_argument("--count", type=int, default=60, help="pictures of each kind")
    options.add_argument("--seed", type=int, default=1)
    given = options.parse_args()
    mpl.use("Agg")
    desk = Desk(
        given.seed, given.fonts, [synset.gloss for synset in nouns(given.wordnet).values()][::7]
    )
    for kind, make in KINDS.items():
        folder = given.data / "drawn" / given.part / kind
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(given.count):
            photographed(desk, make(desk)).save(folder / f"{number:03}.png")


if __name__ == "__main__":
    main()
