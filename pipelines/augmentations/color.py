"""The standard augmentation with jittered colours."""

from pipelines.augmentations import Augmentation
from pipelines.ops import ColorJitter, Crop, HorizontalFlip

color = Augmentation(
    name="color",
    why="other light and cameras: helps if colour should not identify the class",
    reference="the colour jitter of Krizhevsky et al. 2012 as libraries implement it today",
    ops=[
        Crop(pad=4, padding="reflect"),
        HorizontalFlip(p=0.5),
        ColorJitter(
            brightness=(0.8, 1.2), contrast=(0.8, 1.2), saturation=(0.8, 1.2), hue=(-0.05, 0.05)
        ),
    ],
)
