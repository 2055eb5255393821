"""Entries read from the text of their files are the same as those of the imported files."""

import pytest

from bench import listing
from bench.grid import registry

ENTRY = 'NET = Architecture(name="a", why="b", build=f, parameters=1)\n'


def test_entries_read_from_text_equal_the_imported_ones() -> None:
    stated = listing.stated_entries()
    assert stated is not None
    for kind in listing.TYPES:
        assert sorted(stated[kind], key=str) == sorted(registry.listing(kind), key=str)


@pytest.mark.parametrize(
    "text",
    [
        f"import a_library_that_nobody_has\n{ENTRY}",
        f"from . import other\n{ENTRY}",
        f"raise OSError\n{ENTRY}",
        f"from architectures import _shared\n{ENTRY}other = _shared.entry('b')",
        f"{ENTRY}NETS = [Architecture(name=n) for n in NAMES]",
        f"{ENTRY}make = partial(Architecture, why='c')",
        'NET = Architecture(name=PREFIX + "a", why="b")',
        'NET = Architecture(name="a")',
        "def (",
    ],
)
def test_a_file_whose_entries_are_computed_must_be_imported(text: str) -> None:
    assert listing.entries_of(ENTRY, "Architecture") == [{"name": "a", "why": "b", "parameters": 1}]
    with pytest.raises((ValueError, SyntaxError)):
        listing.entries_of(text, "Architecture")
