"""`bench loaders`: each pipeline alone, without a net."""
