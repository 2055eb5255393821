"""Event files of runs, the throughput view over them, and TensorBoard to show it. Imports no torch.

Below a group's `tensorboard/` lie: a folder for each run; `matrix` with what all runs share (the
layout of the view, the columns of the hparams table); `examples` with augmented images;
`seeds/<cell>` with mean, minimum and maximum over seeds; `loaders/<pipeline>`.
"""
