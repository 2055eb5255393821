"""The native pipeline's ops: pure tensor functions of images and uniform draws."""
