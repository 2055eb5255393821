"""Grids, options and the plan: from what a person asks for to the runs left to do."""
