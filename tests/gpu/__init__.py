"""What only a GPU can show; `make test ARGS="-m gpu"` runs it, elsewhere it is skipped."""
