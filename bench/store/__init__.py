"""The results folder: the only code that reads and writes its files."""
