"""What every pipeline promises, tried on every variant and every op that it claims."""
