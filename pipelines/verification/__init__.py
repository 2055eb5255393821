"""Verifies on generated images that each pipeline implements each op as declared.

`checks.verify` runs it on any device, for `bench loaders --verify` and for the contract tests.
"""
