"""Small pieces of sentences."""


def count(number: int, one: str, many: str = "") -> str:
    """A number with its word: "1 cell", "2 cells"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
