"""How torchvision does each op."""
