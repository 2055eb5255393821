"""Confidence intervals, tests, effects and the best cells."""
