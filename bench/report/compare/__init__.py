"""`bench compare`: two sets of results, cell by cell."""
