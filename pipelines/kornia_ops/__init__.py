"""Parts of the pipeline `kornia`."""
