"""The generated source `shapes`: ten flat shapes in clutter, with the same bytes everywhere.

Position, size, stretch, rotation, colours, textures, clutter and noise vary between images, so that
a linear model learns little and a convolutional net learns much. Every shape has a mirror axis:
flipping an image keeps its class.

Bytes depend on numpy's raw PCG64 bits, `Generator.random`, and float32 operations that IEEE 754
rounds exactly (add, subtract, multiply, divide, square root, minimum, maximum). Mathematical
functions (sine, power, exponential) and sums over axes are avoided, as their last bit differs
between builds.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Labels = NDArray[np.int64]

VERSION = 1
SIZE = 32
TRAIN = 50_000
TEST = 10_000
CHUNK = 250
STROKES_BEHIND = 3
STROKES_BEFORE = 1
LEAN_DEGREES = 45
SETS = {"train": 0, "test": 1}


def _length(u: Floats, v: Floats) -> Floats:
    length: Floats = np.sqrt(u * u + v * v)
    return length


def _both(a: Floats, b: Floats) -> Floats:
    intersection: Floats = np.maximum(a, b)
    return intersection


def _either(a: Floats, b: Floats) -> Floats:
    union: Floats = np.minimum(a, b)
    return union


def _box(u: Floats, v: Floats, half_u: float | Floats, half_v: float | Floats) -> Floats:
    return _both(abs(u) - half_u, abs(v) - half_v)


def _disc(u: Floats, v: Floats) -> Floats:
    return _length(u, v) - 0.85


def _ring(u: Floats, v: Floats) -> Floats:
    return abs(_length(u, v) - 0.72) - 0.24


def _square(u: Floats, v: Floats) -> Floats:
    return _box(u, v, 0.75, 0.75)


def _triangle(u: Floats, v: Floats) -> Floats:
    return _both(abs(u) * 0.8660254 + v * 0.5, -v) - 0.55


def _star(u: Floats, v: Floats) -> Floats:
    """A pentagram: inside at least four of five half-planes."""
    upper, lower = v * 0.309017, v * -0.809017
    near, far = abs(u) * 0.9510565, abs(u) * 0.5877853
    largest, second = _both(v, near + upper), _either(v, near + upper)
    for plane in (upper - near, lower + far, lower - far):
        second = _both(second, _either(largest, plane))
        largest = _both(largest, plane)
    return second - 0.38


def _cross(u: Floats, v: Floats) -> Floats:
    return _either(_box(u, v, 0.95, 0.27), _box(u, v, 0.27, 0.95))


def _crescent(u: Floats, v: Floats) -> Floats:
    return _both(_length(u, v) - 0.95, 0.72 - _length(u, v - 0.55))


def _bars(u: Floats, v: Floats) -> Floats:
    return _box(abs(u) - 0.56, v, 0.25, 0.9)


def _heart(u: Floats, v: Floats) -> Floats:
    """A square on its corner with a disc on each of its two upper sides."""
    square = (abs(u) + abs(v)) * 0.7071068
    return _either(square, _length(abs(u) - 0.4242641, v - 0.4242641)) - 0.6


def _tee(u: Floats, v: Floats) -> Floats:
    return _either(_box(u, v - 0.62, 0.9, 0.27), _box(u, v, 0.27, 0.89))


SHAPES: dict[str, Callable[[Floats, Floats], Floats]] = {
    "disc": _disc,
    "ring": _ring,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "crescent": _crescent,
    "bars": _bars,
    "heart": _heart,
    "tee": _tee,
}
"""By name, the signed distance from a shape's outline, negative inside.

u (right) and v (up) are in units of the shape's half size. Every distance is even in u, so that the
mirror image of a class is the same class.
"""

CLASSES: tuple[str, ...] = tuple(SHAPES)


def generate() -> tuple[Bytes, Labels, Bytes, Labels]:
    """Training images and labels, test images and labels.

    Images are uint8 (50000, 32, 32, 3) and (10000, 32, 32, 3), labels int64 (50000,) and (10000,),
    every class equally often, in shuffled order.
    """
    return (*_draw_set("train", TRAIN), *_draw_set("test", TEST))


def draw(labels: Labels, rng: np.random.Generator) -> Bytes:
    """One image for each of `labels` (N,): uint8 (N, 32, 32, 3).

    Args:
        labels: Indices into `CLASSES`.
        rng: Based on a generator of 64 raw bits, such as PCG64; equal states give equal images.

    Raises:
        ValueError: A label is not an index into `CLASSES`.
    """
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(CLASSES):
        raise ValueError(f"labels are 0..{len(CLASSES) - 1}, got {labels.min()}..{labels.max()}")
    count = len(labels)
    middle = _uniform(rng, count, 0.35, 0.65)
    contrast = _uniform(rng, count, 0.07, 0.27)
    # A shape is usually brighter than its background.
    contrast *= np.where(_uniform(rng, count, 0.0, 1.0) < 0.8, 1.0, -1.0).astype(np.float32)
    canvas = _surface(rng, middle - contrast)
    _clutter(canvas, rng, STROKES_BEHIND)
    _paint(canvas, _shape(rng, labels), _surface(rng, middle + contrast))
    _clutter(canvas, rng, STROKES_BEFORE)
    canvas += _noise(rng, count)
    images = np.rint(np.clip(canvas, 0.0, 1.0) * 255.0).astype(np.uint8)
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1))


def _draw_set(name: str, count: int) -> tuple[Bytes, Labels]:
    rng = _generator(name, 0)
    balanced = np.arange(count, dtype=np.int64) % len(CLASSES)
    labels = balanced[np.argsort(rng.random(count), kind="stable")]
    images = np.empty((count, SIZE, SIZE, 3), np.uint8)

    def draw_chunk(start: int) -> None:
        part = slice(start, start + CHUNK)
        images[part] = draw(labels[part], _generator(name, 1 + start // CHUNK))

    with ThreadPoolExecutor() as threads:  # numpy releases the GIL
        for _ in threads.map(draw_chunk, range(0, count, CHUNK)):
            pass
    return images, labels


def _generator(name: str, stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([VERSION, SETS[name], stream]))


def _uniform(rng: np.random.Generator, count: int, low: float, high: float) -> Floats:
    """(count, 1, 1, 1), broadcast over channels and pixels."""
    values = rng.random(count) * (high - low) + low
    return values.astype(np.float32).reshape(count, 1, 1, 1)


def _directions() -> Floats:
    """Cosine and sine (360, 2), rounded so that all mathematical libraries agree."""
    angles = np.arange(360) * (np.pi / 180)
    exact = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    rounded: Floats = (np.rint(exact * 4096) / 4096).astype(np.float32)
    return rounded


DIRECTIONS = _directions()
AXIS = np.arange(SIZE, dtype=np.float32) - (SIZE - 1) / 2


def _frame(
    rng: np.random.Generator, count: int, *, reach: float, lean: int = 180
) -> tuple[Floats, Floats]:
    """Pixel coordinates (count, 1, 32, 32) in a randomly placed and rotated frame.

    Its centre is off by up to `reach` pixels, its axes by up to `lean` degrees.
    """
    turn = (rng.random(count) * (2 * lean + 1)).astype(np.int64) - lean
    cosine, sine = DIRECTIONS[turn].T.reshape(2, count, 1, 1, 1)
    x = AXIS - _uniform(rng, count, -reach, reach)
    y = _uniform(rng, count, -reach, reach) - AXIS[:, np.newaxis]
    return x * cosine + y * sine, y * cosine - x * sine


def _coverage(distance: Floats) -> Floats:
    """The share of each pixel that is inside, from the signed distance of its centre in pixels."""
    inside: Floats = np.clip(0.5 - distance, 0.0, 1.0)
    return inside


def _shape(rng: np.random.Generator, labels: Labels) -> Floats:
    """Coverage (N, 1, 32, 32) of the labelled shapes."""
    count = len(labels)
    u, v = _frame(rng, count, reach=4.0, lean=LEAN_DEGREES)
    radius = _uniform(rng, count, 6.0, 11.0)
    stretch = _uniform(rng, count, 0.8, 1.0)
    u /= radius * stretch
    v /= radius
    distance = np.empty_like(u)
    for label, signed_distance in enumerate(SHAPES.values()):
        members = np.flatnonzero(labels == label)
        distance[members] = signed_distance(u[members], v[members])
    return _coverage(distance * radius)


def _clutter(canvas: Floats, rng: np.random.Generator, strokes: int) -> None:
    """Paints `strokes` bars over each image of `canvas` (N, 3, 32, 32)."""
    count = len(canvas)
    for _ in range(strokes):
        _paint(canvas, _stroke(rng, count), _colour(rng, _uniform(rng, count, 0.1, 0.9)))


def _stroke(rng: np.random.Generator, count: int) -> Floats:
    """Coverage (count, 1, 32, 32) of a bar, from a dot to a line."""
    along, across = _frame(rng, count, reach=16.0)
    length = _uniform(rng, count, 1.0, 9.0)
    width = _uniform(rng, count, 0.7, 1.8)
    return _coverage(_box(along, across, length, width))


def _colour(rng: np.random.Generator, grey: Floats) -> Floats:
    """(N, 3, 1, 1): `grey` (N, 1, 1, 1) with a random tint."""
    tint = rng.random((len(grey), 3, 1, 1)) * 0.4 - 0.2
    return grey + tint.astype(np.float32)


def _surface(rng: np.random.Generator, grey: Floats) -> Floats:
    """(N, 3, 32, 32): two tints of `grey` (N, 1, 1, 1) in soft stripes."""
    count = len(grey)
    along, _ = _frame(rng, count, reach=16.0)
    phase = along * _uniform(rng, count, 0.03, 0.22)
    wave = abs(phase - np.rint(phase)) * 2.0
    colour = _colour(rng, grey)
    surface: Floats = (_colour(rng, grey) - colour) * _uniform(rng, count, 0.0, 1.0) * wave + colour
    return surface


def _paint(canvas: Floats, coverage: Floats, colour: Floats) -> None:
    """Paints `colour` (N, 3, 1 or 32, 1 or 32) onto `canvas` (N, 3, 32, 32)."""
    canvas += coverage * (colour - canvas)


def _noise(rng: np.random.Generator, count: int) -> Floats:
    """(count, 3, 32, 32) of uniform noise around zero, of different strength per image."""
    strength = _uniform(rng, count, 0.0, 0.25) / 255.0
    # Raw bits are the only stream that numpy guarantees not to change.
    raw = rng.bit_generator.random_raw(count * 3 * SIZE * SIZE // 8).astype("<u8").view(np.uint8)
    noise: Floats = raw.reshape(count, 3, SIZE, SIZE).astype(np.float32) - 127.5
    return noise * strength
