"""One run from top to bottom: step, loop, metrics."""
