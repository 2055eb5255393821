"""Grids, options and plans: from the options of a command to the runs left to do."""
