"""What DALI does with images, op by op: the same code for graphs and for dynamic mode."""
