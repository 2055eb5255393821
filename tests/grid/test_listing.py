"""Entries as the text of their files states them: the same as when the files are imported."""

import pytest

from bench.grid import listing, registry

ENTRY = 'NET = Architecture(name="a", why="b", build=f, parameters=P)\n'


@pytest.mark.parametrize("kind", listing.TYPES)
def test_the_text_of_the_files_states_what_importing_them_gives(kind: str) -> None:
    stated = listing.stated_entries()
    assert stated is not None
    assert sorted(stated[kind], key=str) == sorted(registry.listing(kind), key=str)


def test_names_of_constants_are_resolved() -> None:
    (fields,) = listing._of_text(f'"""A net."""\nimport os\nP, Q = 1, 2\n{ENTRY}', "Architecture")
    assert fields == {"name": "a", "why": "b", "parameters": 1}


@pytest.mark.parametrize(
    "text",
    [
        f"P = 1\nimport a_library_that_nobody_has\n{ENTRY}",
        f"P = 1\nfrom . import other\n{ENTRY}",
        f"P = len(a)\n{ENTRY}",
        f"P = 1\nraise OSError\n{ENTRY}",
        f"P = 1\n{ENTRY}NETS = [Architecture(name=n) for n in NAMES]",
        'NET = Architecture(name=f"{x}", why="b")',
        "def (",
    ],
)
def test_a_file_whose_text_leaves_something_open_must_be_imported(text: str) -> None:
    with pytest.raises(listing._Unclear):
        list(listing._of_text(text, "Architecture"))
