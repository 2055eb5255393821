"""What the files in a bundle of results may be called; whatever else a bundle names is refused."""

import re

LONGEST_NAME = 1024  # bytes of a whole name
MANIFEST = "manifest.json"
FORMAT = "pipeline-bench results"
VERSION = 1

_RUN = "[0-9a-f]{16}"
# A name that leads nowhere else: no separator, no control character, no dot first.
_PART = r"[^/\\.\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]{0,199}"
_ATTEMPT = rf"records/\.attempts/{_RUN}\.[1-9][0-9]{{0,8}}"
_BESIDE = (
    rf"predictions/{_RUN}\.npz|logs/{_RUN}\.log|profiles/{_RUN}\.(?:json\.gz|txt)"
    rf"|tensorboard/{_PART}/{_PART}"
)
_NAME = re.compile(
    rf"(?:reference/)?{_PART}/(?:records/{_RUN}\.json|{_ATTEMPT}\.json|(?:{_ATTEMPT}/)?(?:{_BESIDE})"
    rf"|examples/{_PART}\.png|loaders\.(?:json|csv|md|png|svg))"
)


def fits(name: str) -> bool:
    """Whether it is the name of a record, of what lies beside one, or of a group's own files."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:  # bytes of a file system that are no text
        return False
    return size <= LONGEST_NAME and _NAME.fullmatch(name) is not None
