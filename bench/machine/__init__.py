"""The machine: clock, processor, GPU, memory, environment."""
