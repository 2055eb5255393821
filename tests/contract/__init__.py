"""What every pipeline promises, tested for every variant and every op it declares."""
