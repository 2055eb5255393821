"""Does a pipeline do what its ops say? Tried on made images, on any device, by `verify`.

The tests of this project and `bench loaders --verify` rest on the same references and checks.
"""
