"""Runs grids of architecture x optimizer x augmentation x pipeline and tells what came out."""

__version__ = "0.1.0"
