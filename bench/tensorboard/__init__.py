"""Event files of runs, and TensorBoard to show them. Imports no torch.

A group's `tensorboard/` contains a folder for each run, `matrix` with the layout and the columns of
the hparams table, `examples` with augmented images, `seeds/<cell>` with mean, minimum and maximum
over seeds, and `loaders/<pipeline>`.
"""
