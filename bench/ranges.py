"""The ranges in which figures lie, as types of the fields that hold them.

msgspec checks them whenever a record is read, in the one pass that reads it.
"""

from typing import Annotated

from msgspec import Meta

ROUNDING = 1e-3  # of shares that were computed in 32 bits
LARGEST = 1e15  # seconds, images, bytes: no run comes near
LARGEST_STALL_PCT = 1e9  # below 0 too: a pipeline may seem faster than the ceiling

Share = Annotated[float, Meta(ge=-ROUNDING, le=1 + ROUNDING)]
Amount = Annotated[float, Meta(ge=0.0, le=LARGEST)]
Count = Annotated[int, Meta(ge=0, le=int(LARGEST))]
Number = Annotated[int, Meta(ge=1, le=int(LARGEST))]
StallPct = Annotated[float, Meta(ge=-LARGEST_STALL_PCT, le=LARGEST_STALL_PCT)]
