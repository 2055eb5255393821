"""Verification of pipelines on made images: does each op do what its declaration says?

`checks.verify` runs it on any device, for `bench loaders --verify` and for the contract tests.
"""
