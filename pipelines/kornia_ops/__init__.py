"""How Kornia does each op."""
