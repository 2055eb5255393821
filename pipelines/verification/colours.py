"""Which factors a colour jitter had, from what became of an image of two colours."""

import colorsys

import numpy as np
from numpy.typing import NDArray

from pipelines.verification import plain, world

# Left and right; nothing reaches 0 or 255 with factors of 0.8 to 1.2.
PAIR = np.array([[170.0, 140.0, 110.0], [90.0, 60.0, 70.0]])


def halves() -> NDArray[np.uint8]:
    """An image of the two colours."""
    image = np.empty((world.SIZE, world.SIZE, 3), dtype=np.uint8)
    image[:, : world.SIZE // 2], image[:, world.SIZE // 2 :] = PAIR
    return image


def left_is_brighter(pixels: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Of each output (N, H, W, C); no jitter makes the darker half the brighter."""
    half = pixels.shape[2] // 2
    found: NDArray[np.bool_] = pixels[:, :, :half].sum((1, 2, 3)) > pixels[:, :, half:].sum(
        (1, 2, 3)
    )
    return found


def factors(pixels: NDArray[np.float32]) -> NDArray[np.float64]:
    """Brightness, contrast, saturation and hue (N, 4) of outputs (N, H, W, C).

    A turn of the hue keeps a colour's largest and smallest channel. Their distance is scaled by the
    three factors together; the greys that so are known are scaled by brightness (their sum) and by
    brightness and contrast (their difference).
    """
    half = pixels.shape[2] // 2
    colour = np.stack(
        [part.mean(axis=(1, 2)) for part in (pixels[:, :, :half], pixels[:, :, half:])]
    )
    colour = colour.astype(float)  # (2, N, C)
    high, low = colour.max(axis=2), colour.min(axis=2)
    top, grey = PAIR.max(axis=1), PAIR @ plain.GREY
    together = (high[0] - low[0]) / (top[0] - PAIR[0].min())
    greys = high - together * (top - grey)[:, None]
    brightness = (greys[0] + greys[1]) / grey.sum()
    contrasted = (greys[0] - greys[1]) / (grey[0] - grey[1])
    before = colorsys.rgb_to_hsv(*PAIR[0])[0]
    after = np.array([colorsys.rgb_to_hsv(*each)[0] for each in colour[0].tolist()])
    turned = (after - before + 0.5) % 1.0 - 0.5
    return np.stack([brightness, contrasted / brightness, together / contrasted, turned], axis=1)


def plainly(factor: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the plain way makes of the image with such factors."""
    names = "brightness", "contrast", "saturation", "hue"
    pair = plain.jitter(PAIR[None], **dict(zip(names, factor.tolist(), strict=True)))
    return pair.repeat(world.SIZE, axis=0).repeat(world.SIZE // 2, axis=1)
