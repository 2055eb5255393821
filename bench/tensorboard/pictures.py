"""Small pictures: the confusion matrix, drawn without matplotlib, and blocks of images."""

from collections.abc import Sequence
from io import BytesIO

from PIL import Image, ImageDraw, ImageFont

CELL, FONT = 44, 13  # pixels
BLOCK = 4  # augmented images a row
MOST_NUMBERED = 20  # classes; with more of them cells are small and have neither name nor number
DARK, LIGHT = (8, 48, 107), (247, 251, 255)
GREY = (90, 90, 90)
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def confusion_png(confusion: Sequence[Sequence[int]], names: Sequence[str]) -> bytes:
    """A PNG of a confusion matrix: rows are true classes, columns predictions.

    A cell is as dark as its share of the row's images; its number is the count.

    Args:
        confusion: Square.
        names: Of the classes, in the order of the rows.
    """
    numbered = len(confusion) <= MOST_NUMBERED
    side = CELL if numbered else max(2, CELL * MOST_NUMBERED // len(confusion))
    font = ImageFont.load_default(FONT)
    margin = round(max(map(font.getlength, names), default=0)) + 12 if numbered else 4
    size = margin + side * len(confusion) + 4
    image = Image.new("RGB", (size, size), "white")
    draw = ImageDraw.Draw(image)
    for row, counts in enumerate(confusion):
        total = max(1, sum(counts))
        for column, count in enumerate(counts):
            left, top = margin + side * column, margin + side * row
            shade = _shade(count / total)
            draw.rectangle((left, top, left + side - 1, top + side - 1), fill=shade)
            if numbered and count:
                ink = "white" if count / total > 0.5 else "black"
                middle = (left + side / 2, top + side / 2)
                draw.text(middle, str(count), fill=ink, font=font, anchor="mm")
    if numbered:
        _name(image, names, margin, font)
    return _png(image)


def tiled_png(strip: bytes) -> bytes:
    """A strip of square images as a block of `BLOCK` a row: TensorBoard's cards are narrow."""
    image = Image.open(BytesIO(strip)).convert("RGB")
    side = image.height
    count = image.width // side
    rows = -(-count // BLOCK)
    block = Image.new("RGB", (min(count, BLOCK) * side, rows * side), "white")
    for index in range(count):
        part = image.crop((index * side, 0, (index + 1) * side, side))
        block.paste(part, (index % BLOCK * side, index // BLOCK * side))
    buffer = BytesIO()
    block.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _shade(share: float) -> tuple[int, int, int]:
    red, green, blue = (
        round(light + share * (dark - light)) for light, dark in zip(LIGHT, DARK, strict=True)
    )
    return red, green, blue


def _name(image: Image.Image, names: Sequence[str], margin: int, font: Font) -> None:
    draw = ImageDraw.Draw(image)
    for index, name in enumerate(names):
        middle = margin + CELL * index + CELL // 2
        draw.text((margin - 6, middle), name, fill="black", font=font, anchor="rm")
        upright = Image.new("RGB", (margin, FONT + 6), "white")
        ImageDraw.Draw(upright).text((2, 0), name, fill="black", font=font)
        turned = upright.rotate(90, expand=True)
        image.paste(turned, (middle - turned.width // 2, -4))
    draw.multiline_text((4, 4), "rows: true\ncolumns:\npredicted", fill=GREY, font=font)


def _png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    # quicker than the method taken unasked, and nearer to the colours
    image.quantize(64, method=Image.Quantize.FASTOCTREE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
