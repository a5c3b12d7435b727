"""Render the example pages of this folder.

Eight made-up pages whose shapes lead the dynamic crop rule of DeepSeek-OCR (2 to 9 tiles of 640 pixels)
to eight different grids of columns x rows:

    letter_portrait.png   an article with a table          2 x 3
    a4_landscape.png      a bar chart beside text          3 x 2
    slide.png             a title, bullets and a diagram   4 x 2
    receipt.jpg           a till receipt                   1 x 3
    newspaper.jpg         a broadsheet's front page        2 x 4
    banner.png            a very wide heading              5 x 1
    snippet.png           a few lines, below 640 pixels    no crops
    photo_rotated.jpg     a photographed letter            1 x 2

photo_rotated.jpg is stored landscape with EXIF orientation 6: a reader that ignores the tag sees the page
lying on its side, and would cut it into 2 x 1.

Only Pillow (10.1 or newer, with FreeType) is needed: the font is the one that Pillow bundles, the words come
from a small vocabulary and a seeded generator, and nothing is downloaded. With one version of Pillow and of
its libraries, two runs write identical bytes. Run it with

    python examples/pages/render_pages.py [--out FOLDER]

It writes the files next to itself, or into FOLDER, and prints a line a page: name, width and height, as the
page is read (after its EXIF orientation).
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

Colour = int | tuple[int, int, int]

SEED = 20251
EXIF_ORIENTATION = 0x0112

VOCABULARY = {
    "adjective": "narrow|early|quiet|second|printed|careful|northern|folded|open|common|recent|heavy",
    "noun": "archive|ledger|harbour|margin|column|station|letter|table|reader|bridge|season|printer|river|"
    "market|catalogue|survey|engine|garden|museum|workshop",
    "verb": "follows|records|replaces|describes|measures|supports|reaches|covers|repeats|crosses",
    "place": "near the harbour|before the winter|in the second volume|across the valley|with little delay|"
    "at the old station|after the count|for the first time|on the opposite page",
    "opening": "In most years|At first|By the end of May|Every morning|Even so|Until now|As expected",
    "goods": "Rye bread|Whole milk 1 l|Salted butter|Eggs, dozen|Green apples|Carrots 1 kg|Oat flakes|"
    "Ground coffee|Black tea|Tomato soup|Olive oil 0.5 l|Sea salt|Pears|Brown rice|Dish soap|Paper towels|"
    "Matches",
}
WORDS = {kind: words.split("|") for kind, words in VOCABULARY.items()}


# Words


def sentence(rng: random.Random) -> str:
    """One plain sentence from the vocabulary."""
    first, second = rng.sample(WORDS["noun"], 2)
    adjective, verb, place = (rng.choice(WORDS[kind]) for kind in ("adjective", "verb", "place"))
    core = f"the {adjective} {first} {verb} the {second} {place}"
    if rng.random() < 0.35:
        return f"{rng.choice(WORDS['opening'])}, {core}."
    if rng.random() < 0.25:
        return f"{core[0].upper()}{core[1:]}, {rng.randint(3, 98)} of {rng.randint(100, 900)}."
    return f"{core[0].upper()}{core[1:]}."


def prose(rng: random.Random, sentences: int) -> str:
    """A paragraph of so many sentences."""
    return " ".join(sentence(rng) for _ in range(sentences))


def headline(rng: random.Random) -> str:
    """A short heading."""
    first, second = rng.sample(WORDS["noun"], 2)
    adjective, verb = (rng.choice(WORDS[kind]) for kind in ("adjective", "verb"))
    return f"{adjective.capitalize()} {first} {verb} {second}"


# Setting text


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own scalable font."""
    face = ImageFont.load_default(size)
    if not isinstance(face, ImageFont.FreeTypeFont):
        raise SystemExit("render_pages: this Pillow was built without FreeType")
    return face


def stroke_of(size: int, bold: bool) -> int:
    """How much bolder a stroke makes the single weight of the bundled font."""
    return max(1, size // 40) if bold else 0


def length_of(text: str, size: int, bold: bool = False) -> float:
    """The width of one line of text."""
    return font(size).getlength(text) + stroke_of(size, bold) * len(text)


def wrap(text: str, size: int, width: float, bold: bool = False) -> list[str]:
    """Break a text into lines no wider than `width`."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        longer = f"{line} {word}" if line else word
        if line and length_of(longer, size, bold) > width:
            lines.append(line)
            line = word
        else:
            line = longer
    return [*lines, line] if line else lines


def put(
    draw: ImageDraw.ImageDraw,
    xy: tuple[float, float],
    text: str,
    size: int,
    fill: Colour = 0,
    anchor: str = "la",
    bold: bool = False,
) -> None:
    """Draw one line of text. Bold letters are stroked, and set wider apart by as much."""
    face, stroke = font(size), stroke_of(size, bold)
    if not bold:
        draw.text(xy, text, font=face, fill=fill, anchor=anchor)
        return
    left = xy[0] - length_of(text, size, bold) * {"l": 0.0, "m": 0.5, "r": 1.0}[anchor[0]]
    for number, letter in enumerate(text):
        before = length_of(text[: number + 1], size, bold) - face.getlength(letter) - stroke
        place = (round(left + before), xy[1])
        draw.text(place, letter, fill, face, f"l{anchor[1]}", stroke_width=stroke, stroke_fill=fill)


def block(
    draw: ImageDraw.ImageDraw,
    left: float,
    top: float,
    width: float,
    text: str,
    size: int,
    *,
    fill: Colour = 0,
    leading: float = 1.45,
    justify: bool = False,
    bold: bool = False,
    bottom: float = float("inf"),
) -> float:
    """Draw a paragraph, leaving out lines that would pass `bottom`; return the y below it."""
    lines = wrap(text, size, width, bold)
    step = round(size * leading)
    for number, line in enumerate(lines):
        if top + step > bottom:
            break
        words = line.split()
        if justify and len(words) > 1 and number < len(lines) - 1:
            lengths = [length_of(word, size) for word in words]
            gap = (width - sum(lengths)) / (len(words) - 1)
            x = left
            for word, length in zip(words, lengths, strict=True):
                put(draw, (round(x), top), word, size, fill)
                x += length + gap
        else:
            put(draw, (left, top), line, size, fill, bold=bold)
        top += step
    return top


def table(
    draw: ImageDraw.ImageDraw,
    left: int,
    top: int,
    widths: list[int],
    rows: list[list[str]],
    size: int,
    row_height: int,
) -> int:
    """Draw a ruled table whose first row is its head and whose first column is text; return the y below."""
    right = left + sum(widths)
    draw.rectangle((left, top, right, top + row_height), fill=221)
    for number, row in enumerate(rows):
        middle = top + row_height // 2
        x = left
        for place, (cell, width) in enumerate(zip(row, widths, strict=True)):
            if place == 0:
                put(draw, (x + 14, middle), cell, size, anchor="lm", bold=number == 0)
            else:
                put(draw, (x + width - 14, middle), cell, size, anchor="rm", bold=number == 0)
            x += width
        top += row_height
        draw.line((left, top, right, top), fill=0 if number in (0, len(rows) - 1) else 170, width=2)
    draw.line((left, top - row_height * len(rows), right, top - row_height * len(rows)), fill=0, width=2)
    return top


def arrow(draw: ImageDraw.ImageDraw, left: int, right: int, y: int, fill: Colour) -> None:
    """Draw an arrow that points to the right."""
    draw.line((left, y, right - 14, y), fill=fill, width=5)
    draw.polygon([(right, y), (right - 20, y - 12), (right - 20, y + 12)], fill=fill)


def picture(image: Image.Image, box: tuple[int, int, int, int]) -> None:
    """Fill a box with a grey landscape: sky, two hills and a low sun."""
    left, top, right, bottom = box
    wide, high = right - left, bottom - top
    inner = Image.new("L", (wide, high), 205)
    draw = ImageDraw.Draw(inner)
    draw.ellipse((wide * 0.68, high * 0.14, wide * 0.68 + high * 0.2, high * 0.34), fill=238)
    draw.polygon([(0, high), (0, high * 0.62), (wide * 0.36, high * 0.3), (wide * 0.8, high)], fill=150)
    draw.polygon([(wide * 0.3, high), (wide * 0.74, high * 0.46), (wide, high * 0.7), (wide, high)], fill=112)
    image.paste(inner, (left, top))
    ImageDraw.Draw(image).rectangle(box, outline=70, width=2)


# The pages


def letter_portrait() -> Image.Image:
    """An article: title, author, two paragraphs, a table and a closing paragraph."""
    rng = random.Random(SEED + 1)
    page = Image.new("L", (1275, 1650), 255)
    draw = ImageDraw.Draw(page)
    left, width = 140, 995
    put(draw, (left, 96), "Journal of Ordinary Records, vol. 12", 20, fill=102)
    put(draw, (left + width, 96), "page 41", 20, fill=102, anchor="ra")
    draw.line((left, 130, left + width, 130), fill=136, width=2)
    y = block(
        draw,
        left,
        180,
        width,
        "Reading the harbour ledgers: a survey of two volumes",
        50,
        bold=True,
        leading=1.25,
    )
    put(draw, (left, y + 12), "A. Marlow and J. Penhale", 26, fill=68)
    y = block(draw, left, y + 80, width, prose(rng, 7), 25, justify=True)
    put(draw, (left, y + 24), "1. Counts by season", 32, bold=True)
    y = block(draw, left, y + 80, width, prose(rng, 6), 25, justify=True)
    letters = [rng.randint(110, 480) for _ in range(4)]
    rows = [["Season", "Letters", "Pages", "Mean", "Share"]]
    for season, count in zip(("Winter", "Spring", "Summer", "Autumn"), letters, strict=True):
        sheets = count * 4 + rng.randint(90, 900)
        share = 100 * count / sum(letters)
        rows.append([season, str(count), f"{sheets:,}", f"{sheets / count:.2f}", f"{share:.1f} %"])
    put(draw, (left, y + 26), "Table 1. Letters received, and the pages that they fill.", 22, fill=51)
    y = table(draw, left, round(y) + 64, [315, 170, 170, 170, 170], rows, 24, 48)
    y = block(draw, left, y + 40, width, prose(rng, 5), 25, justify=True)
    block(draw, left, y + 16, width, prose(rng, 4), 25, justify=True, bottom=1520)
    put(draw, (left + width / 2, 1560), "41", 22, fill=68, anchor="ma")
    return page


def a4_landscape() -> Image.Image:
    """A report page: a bar chart on the left, text on the right."""
    rng = random.Random(SEED + 2)
    page = Image.new("L", (1754, 1240), 255)
    draw = ImageDraw.Draw(page)
    put(draw, (110, 90), "Half-year report: freight through the northern station", 46, bold=True)
    draw.line((110, 166, 1644, 166), fill=0, width=3)
    left, top, right, bottom = 190, 290, 980, 940
    put(draw, (110, 218), "Figure 3. Tonnes handled, in thousands", 26, fill=51)
    for step in range(6):
        level = bottom - step * (bottom - top) // 5
        draw.line((left, level, right, level), fill=0 if step == 0 else 204, width=2)
        put(draw, (left - 18, level), str(step * 20), 24, fill=51, anchor="rm")
    months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun"]
    slot = (right - left) // len(months)
    for number, month in enumerate(months):
        x = left + number * slot
        for place, shade in enumerate((85, 170)):
            value = rng.randint(28, 92)
            edge = x + 20 + place * 48
            high = bottom - value * (bottom - top) // 100
            draw.rectangle((edge, high, edge + 42, bottom), fill=shade)
            draw.rectangle((edge + 4, high - 28, edge + 38, high - 6), fill=255)
            put(draw, (edge + 21, high - 8), str(value), 20, fill=51, anchor="mb")
        put(draw, (x + 65, bottom + 16), month, 26, anchor="ma")
    for place, (name, shade) in enumerate((("this year", 85), ("last year", 170))):
        x = left + 180 + place * 240
        draw.rectangle((x, 1016, x + 28, 1044), fill=shade)
        put(draw, (x + 42, 1030), name, 24, anchor="lm")
    y = 214.0
    for number, title in enumerate(("Summary", "What changed", "Outlook")):
        put(draw, (1070, y), title, 32, bold=True)
        y = block(draw, 1070, y + 52, 574, prose(rng, (4, 4, 3)[number]), 24, bottom=1090) + 22
    draw.line((110, 1136, 1644, 1136), fill=170, width=2)
    put(draw, (110, 1152), "Northern Station Authority", 20, fill=102)
    put(draw, (1644, 1152), "7 / 24", 20, fill=102, anchor="ra")
    return page


def slide() -> Image.Image:
    """A slide: a coloured title bar, bullets, and three boxes joined by arrows."""
    navy, teal, ink, pale = (31, 56, 100), (28, 128, 128), (40, 40, 48), (226, 236, 244)
    page = Image.new("RGB", (1920, 1080), (255, 255, 255))
    draw = ImageDraw.Draw(page)
    draw.rectangle((0, 0, 1920, 190), fill=navy)
    put(draw, (110, 95), "From scanned page to plain text", 76, fill=(255, 255, 255), anchor="lm", bold=True)
    bullets = [
        "Pages arrive in every shape: receipts, letters, whole newspapers",
        "Width and height decide how many tiles are cut",
        "Tiles keep the small print legible; one more view shows the whole page",
        "The more text on the page, the longer it takes to write out",
    ]
    y = 260
    for text in bullets:
        draw.ellipse((116, y + 14, 136, y + 34), fill=teal)
        put(draw, (170, y), text, 44, fill=ink)
        y += 92
    for number, (title, note) in enumerate((("Crop", "tiles"), ("Encode", "tokens"), ("Decode", "text"))):
        x = 150 + number * 590
        draw.rounded_rectangle((x, 690, x + 440, 900), radius=24, fill=pale, outline=navy, width=5)
        put(draw, (x + 220, 765), title, 54, fill=navy, anchor="mm", bold=True)
        put(draw, (x + 220, 840), note, 38, fill=teal, anchor="mm")
        if number < 2:
            arrow(draw, x + 455, x + 575, 795, navy)
    put(draw, (110, 1010), "Document reading workshop", 28, fill=(120, 120, 128))
    put(draw, (1810, 1010), "5", 28, fill=(120, 120, 128), anchor="ra")
    return page


def receipt() -> Image.Image:
    """A till receipt whose prices add up."""
    rng = random.Random(SEED + 3)
    page = Image.new("L", (600, 1800), 250)
    draw = ImageDraw.Draw(page)
    left, right, ink = 50, 550, 30

    def rule(y: int) -> None:
        for x in range(left, right - 7, 16):
            draw.line((x, y, x + 8, y), fill=ink, width=2)

    def pair(y: int, name: str, value: str, size: int = 26, bold: bool = False) -> None:
        put(draw, (left, y), name, size, fill=ink, bold=bold)
        put(draw, (right, y), value, size, fill=ink, anchor="ra", bold=bold)

    put(draw, (300, 70), "CORNER MARKET", 48, fill=ink, anchor="ma", bold=True)
    for number, text in enumerate(("14 Harbour Street", "Tel. 555 0142", "VAT no. 000 1234 56")):
        put(draw, (300, 150 + number * 38), text, 26, fill=ink, anchor="ma")
    rule(290)
    pair(310, "Till 3   Clerk 07", "14:52")
    pair(350, "Receipt 004417", "2025-03-09")
    rule(404)
    y, total, count = 430, 0, 0
    for name in WORDS["goods"]:
        pieces = rng.choice((1, 1, 1, 2, 3))
        cents = rng.randint(65, 640) * pieces
        pair(y, f"{pieces} x {name}", f"{cents / 100:.2f}")
        total, count, y = total + cents, count + pieces, y + 48
    rule(y + 12)
    tax = round(total * 7 / 107)
    pair(y + 36, f"Items: {count}", "")
    pair(y + 82, "VAT 7 % included", f"{tax / 100:.2f}")
    pair(y + 132, "TOTAL", f"{total / 100:.2f}", 44, bold=True)
    paid = (total // 1000 + 1) * 1000
    pair(y + 206, "Cash", f"{paid / 100:.2f}")
    pair(y + 250, "Change", f"{(paid - total) / 100:.2f}")
    rule(y + 312)
    x = 90
    while x < 500:
        bar = rng.choice((3, 3, 5, 8))
        draw.rectangle((x, 1602, x + bar - 1, 1692), fill=ink)
        x += bar + rng.choice((3, 4, 7))
    put(draw, (300, 1704), "0 044170 309145", 24, fill=ink, anchor="ma")
    put(draw, (300, 1744), "Thank you, come again", 26, fill=ink, anchor="ma")
    return page


def newspaper() -> Image.Image:
    """A broadsheet's front page: masthead, lead story with a picture, then five columns of stories."""
    rng = random.Random(SEED + 4)
    page = Image.new("L", (1800, 3200), 244)
    draw = ImageDraw.Draw(page)
    left, right, foot, ink = 90, 1710, 3090, 24
    put(draw, (900, 80), "The Valley Chronicle", 150, fill=ink, anchor="ma", bold=True)
    draw.line((left, 280, right, 280), fill=ink, width=5)
    put(draw, (left, 296), "Sunday, 9 March 2025", 28, fill=ink)
    put(draw, (900, 296), "Late edition", 28, fill=ink, anchor="ma")
    put(draw, (right, 296), "No. 18,204    Price 1.20", 28, fill=ink, anchor="ra")
    draw.line((left, 344, right, 344), fill=ink, width=3)

    put(draw, (left, 384), "New bridge opens after nine winters", 90, fill=ink, bold=True)
    put(
        draw,
        (left, 506),
        "Traders along the river expect a busier market; the ferry keeps its bell",
        40,
        fill=60,
    )
    picture(page, (left, 590, 1160, 1250))
    put(draw, (left, 1264), "The crossing seen from the east bank on Saturday morning.", 26, fill=60)
    columns, gap = 5, 36
    width = (right - left - gap * (columns - 1)) / columns
    y = block(draw, 1196, 590, right - 1196, "By a staff reporter", 28, fill=60)
    half = (right - 1196 - 30) / 2
    for place in range(2):
        block(
            draw,
            1196 + place * (half + 30),
            y + 10,
            half,
            prose(rng, 16),
            27,
            fill=ink,
            leading=1.36,
            bottom=1310,
        )
    draw.line((left, 1330, right, 1330), fill=ink, width=3)

    boxes = {1: 2240, 3: 1420, 4: 2480}
    for place in range(columns):
        x = left + place * (width + gap)
        if place:
            draw.line((x - gap / 2, 1356, x - gap / 2, foot), fill=140, width=2)
        y = 1356.0
        shown = False
        while y < foot - 220:
            y = block(draw, x, y, width, headline(rng), 42, fill=ink, leading=1.18, bold=True) + 12
            if not shown and place in boxes and y > boxes[place] - 400:
                picture(page, (round(x), round(y), round(x + width), round(y) + 230))
                y += 250
                shown = True
            story = prose(rng, rng.randint(5, 8))
            y = block(draw, x, y, width, story, 27, fill=ink, leading=1.36, bottom=foot) + 16
            if y < foot - 220:
                draw.line((x, y, x + width, y), fill=ink, width=2)
                y += 22
            elif y < foot - 36:
                block(draw, x, y - 16, width, prose(rng, 6), 27, fill=ink, leading=1.36, bottom=foot)
    draw.line((left, foot + 10, right, foot + 10), fill=ink, width=3)
    put(
        draw,
        (900, foot + 26),
        "Weather, page 2    Letters, page 6    Timetables, page 11",
        28,
        fill=ink,
        anchor="ma",
    )
    return page


def banner() -> Image.Image:
    """A very wide banner: white letters on a dark ground."""
    page = Image.new("L", (2700, 500), 51)
    draw = ImageDraw.Draw(page)
    draw.rectangle((30, 30, 2669, 469), outline=204, width=4)
    put(draw, (1350, 190), "ANNUAL BOOK AND PAPER FAIR", 150, fill=255, anchor="mm", bold=True)
    put(
        draw,
        (1350, 370),
        "Old Station Hall    12 to 14 June    free entry, every day from ten to six",
        64,
        fill=221,
        anchor="mm",
    )
    return page


def snippet() -> Image.Image:
    """A few lines cut out of a page."""
    page = Image.new("L", (600, 220), 255)
    draw = ImageDraw.Draw(page)
    put(draw, (28, 22), "2.3 Storage", 32, bold=True)
    text = (
        "Keep the ledgers flat, away from light, between 16 and 19 degrees. Loose sheets go into folders of "
        "at most 40; note the shelf (for instance B-17) on the label."
    )
    block(draw, 28, 76, 544, text, 24, leading=1.4)
    return page


def turned(sheet: Image.Image, border: int) -> Image.Image:
    """A sheet turned a little to the left, after a black border is put around it."""
    framed = ImageOps.expand(sheet, border, 0)
    return framed.rotate(2.2, resample=Image.Resampling.BICUBIC, expand=True)


def photo() -> Image.Image:
    """A letter photographed on a desk, upright: 900 by 1600."""
    rng = random.Random(SEED + 5)
    size = (900, 1600)
    sheet = Image.new("L", (740, 1220), 240)
    draw = ImageDraw.Draw(sheet)
    put(draw, (670, 70), "Old Station, 2 May", 28, fill=50, anchor="ra")
    put(draw, (70, 160), "Dear reader,", 34, fill=50)
    y = 230.0
    for length in (4, 4, 2):
        y = block(draw, 70, y, 600, prose(rng, length), 28, fill=50, bottom=1040) + 22
    put(draw, (400, 1060), "With kind regards,", 30, fill=50)
    put(draw, (400, 1116), "J. Penhale", 34, fill=50)
    desk = Image.new("L", size, 112)
    grain = ImageDraw.Draw(desk)
    for x in range(0, size[0], 150):
        grain.line((x, 0, x + 12, size[1]), fill=92, width=4)
    mask = turned(Image.new("L", (sheet.width - 8, sheet.height - 8), 255), border=4)
    corner = ((size[0] - mask.width) // 2, (size[1] - mask.height) // 2)
    shadow = Image.new("L", size, 0)
    shadow.paste(mask.point(lambda value: value * 2 // 3), (corner[0] + 14, corner[1] + 18))
    desk.paste(50, (0, 0), shadow.filter(ImageFilter.GaussianBlur(14)))
    desk.paste(turned(sheet, border=0), corner, mask)
    light = Image.linear_gradient("L").resize(size).point(lambda value: value // 3)
    shaded = Image.composite(Image.new("L", size, 40), desk, light).filter(ImageFilter.GaussianBlur(0.6))
    return ImageOps.colorize(shaded, (24, 16, 10), (255, 250, 238), (128, 112, 96))


# Files


def save_png(page: Image.Image, path: Path) -> None:
    """Write a PNG of sixteen greys, or of at most 32 colours."""
    if page.mode == "L":
        small = page.point(lambda value: (value * 15 + 127) // 255)
        small.putpalette([level * 17 for level in range(16) for _ in range(3)])
        small.save(path, optimize=True, bits=4)
    else:
        page.quantize(colors=32, dither=Image.Dither.NONE).save(path, optimize=True)


def save_jpeg(page: Image.Image, path: Path, quality: int = 40) -> None:
    """Write a JPEG."""
    page.save(path, quality=quality, optimize=True)


def save_sideways(page: Image.Image, path: Path) -> None:
    """Write a JPEG turned a quarter to the left, with the EXIF orientation that turns it back."""
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    page.transpose(Image.Transpose.ROTATE_90).save(path, quality=50, optimize=True, exif=exif)


PAGES: dict[str, tuple[Callable[[], Image.Image], Callable[[Image.Image, Path], None]]] = {
    "letter_portrait.png": (letter_portrait, save_png),
    "a4_landscape.png": (a4_landscape, save_png),
    "slide.png": (slide, save_png),
    "receipt.jpg": (receipt, save_jpeg),
    "newspaper.jpg": (newspaper, save_jpeg),
    "banner.png": (banner, save_png),
    "snippet.png": (snippet, save_png),
    "photo_rotated.jpg": (photo, save_sideways),
}


def render(folder: Path) -> list[tuple[str, int, int]]:
    """Write every page into a folder; return their names, widths and heights as they are read."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = []
    for name, (draw_page, save) in PAGES.items():
        page = draw_page()
        save(page, folder / name)
        sizes.append((name, page.width, page.height))
    return sizes


def main() -> None:
    """Render the pages and print their sizes."""
    parser = argparse.ArgumentParser(description="Render the example pages.")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent, help="where to write")
    for name, width, height in render(parser.parse_args().out):
        print(f"{name:<20} {width:>5} {height:>5}")


if __name__ == "__main__":
    main()
