"""What a page was made of: a sum that stands in it, and tells whether it is up to date."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from bench.record import Record

if TYPE_CHECKING:
    from bench.loader_record import LoadersRecord

NAME = "made-of"  # of the page's <meta>
_META = re.compile(rf'<meta name="{NAME}" content="([0-9a-f]{{64}})">')
HEAD = 4096  # characters of a page, in which it stands


def made_of(groups: Iterable[tuple[Sequence[Record], "LoadersRecord | None"]]) -> str:
    """The sum over the records, and what `bench loaders` found, of each group of a page."""
    digest = hashlib.sha256()
    for records, loaders in groups:
        for record in records:
            digest.update(f"{record.run_id} {record.content_hash}\n".encode())
        digest.update(msgspec.json.encode(loaders, enc_hook=str) + b"\n")
    return digest.hexdigest()


def read_sum(page: str) -> str:
    """The sum that stands in a page; "" in one that has none."""
    found = _META.search(page[:HEAD])
    return found[1] if found else ""


__all__ = ["HEAD", "NAME", "made_of", "read_sum"]
