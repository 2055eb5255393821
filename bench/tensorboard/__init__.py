"""Event files, the throughput view over them, and the server that shows it. Torch is not needed.

Where things lie below a group's `tensorboard/`: one folder a run; `matrix` with what all runs share
(the layout of the view, the columns of the hparams table) and `examples` with augmented images;
`seeds/<cell>` with the mean and the bounds of cells that have several seeds; `loaders/<pipeline>`.
"""

from bench.tensorboard.overview import write_loaders
from bench.tensorboard.run_log import RunLog, kept_positives, write_run

__all__ = ["RunLog", "kept_positives", "write_loaders", "write_run"]
