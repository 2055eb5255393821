"""The ops as DALI does them: the same code for graphs and for dynamic mode."""
