"""How the native pipeline does each op: pure tensor functions of images and uniform draws."""
