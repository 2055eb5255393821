"""`bench list` as text."""

import architectures
from bench.errors import UsageError
from bench.grid import GRIDS
from bench.registry import CATALOGS, Listing, listing
from pipelines.catalog import unknown_name

ZOO = (
    "  and timm:NAME and torchvision:NAME, as in timm:resnet10t: "
    "any of their nets, with a stem for small images, at width 1"
)


def render(kind: str | None) -> str:
    """All entries of a kind, or of all kinds.

    Raises:
        UsageError: There is no such kind.
    """
    kinds = [*CATALOGS, "grids"]
    if kind is not None and kind not in kinds:
        raise UsageError(unknown_name("kind of entry", kind, kinds))
    return "\n".join(_section(name) for name in ([kind] if kind else kinds))


def _section(kind: str) -> str:
    if kind == "grids":
        entries = [
            Listing(kind=kind, name=grid.name, why=grid.why, default=grid.name == "default")
            for grid in GRIDS.values()
        ]
    else:
        entries = listing(kind)
    width = max(len(entry.name) for entry in entries)
    lines = [
        f"  {entry.name:<{width}} {'*' if entry.default else ' '} "
        + (f"not usable here: {entry.problem}" if entry.problem else _size(entry) + entry.why)
        for entry in entries
    ]
    if kind == "architectures":
        lines.append(ZOO)
    return "\n".join([kind, *lines]) + "\n"


def _size(entry: Listing) -> str:
    """Parameters and arithmetic of a net, as columns; nothing for other kinds of entries."""
    if entry.kind != "architectures":
        return ""
    net = architectures.catalog.entries[entry.name]
    flops = f"{net.flops / 1e9:6.3f} GFLOP" if net.flops else " " * 12
    return f"{net.parameters / 1e6:6.2f} M {flops}  "
