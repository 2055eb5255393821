"""Trains and evaluates one run."""
