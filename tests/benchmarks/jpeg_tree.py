"""A tree of JPEG files of many sizes, to measure pipelines that decode.

    python -m tests.benchmarks.jpeg_tree FOLDER [TRAINING_IMAGES]
    bench loaders --source folder:FOLDER --decode --image-size 224 --augmentation resized_crop
    bench run --grid decode --source folder:FOLDER --decode --image-size 224

The images of `--source auto` enlarged to between 256 and 512 pixels a side at quality 95, with
noise, so that they are as hard to decode as photographs; 2,048 training images by default, a tenth
as many to test.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

import pipelines
from pipelines import sources
from pipelines.sources.base import Images

QUALITY = 95
SIDES = (256, 512)  # pixels, each side drawn by itself
NOISE = 6.0  # standard deviation, of 255


def write(images: Images, folder: Path, count: int, rng: np.random.Generator) -> int:
    total = 0
    for number in range(count):
        size = tuple(rng.integers(*SIDES, size=2, endpoint=True).tolist())
        small = Image.fromarray(images.images[number].numpy())
        pixels = np.asarray(small.resize(size, Image.Resampling.BICUBIC), np.float64)
        noisy = np.clip(pixels + rng.normal(0, NOISE, pixels.shape), 0, 255).round()
        path = folder / images.classes[int(images.labels[number])] / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noisy.astype(np.uint8)).save(path, quality=QUALITY)
        total += path.stat().st_size
    return total


def main(folder: Path, count: int = 2048) -> None:
    source, _ = sources.resolve("auto", sources.default_data_dir())
    data, rng = pipelines.load(source), np.random.default_rng(0)
    total = write(data.train, folder / "train", count, rng)
    write(data.test, folder / "test", max(20, count // 10), rng)
    print(f"{count} training images, {total / count / 1000:.0f} kB each, in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
