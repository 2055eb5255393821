"""DALI's ops: the same code for graph mode and dynamic mode."""
