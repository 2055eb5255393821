"""`bench list` as text."""

import architectures
from bench.errors import UsageError
from bench.grid.grids import grids
from bench.grid.plugins import Plugin, Plugins
from bench.grid.registry import CATALOGS, Listing, listing
from pipelines.catalog import unknown_name

NONE = Plugins()
ZOO = (
    "  and timm:NAME and torchvision:NAME, as in timm:resnet10t: "
    "any of their nets, with a stem for small images, at width 1"
)


def render_list(kind: str | None, plugins: Plugins = NONE) -> str:
    """All entries of a kind, or of all kinds; plugins where there are some.

    Raises:
        UsageError: There is no such kind.
    """
    kinds = [*CATALOGS, "grids", "plugins"]
    if kind is not None and kind not in kinds:
        raise UsageError(unknown_name("kind of entry", kind, kinds))
    wanted = [kind] if kind else kinds
    if kind is None and not (plugins.loaded or plugins.broken):
        wanted.remove("plugins")
    return "\n".join(_plugins(plugins) if each == "plugins" else _section(each) for each in wanted)


def _plugins(plugins: Plugins) -> str:
    lines = [f"  {plugin.origin}: {_defined(plugin)}" for plugin in plugins.loaded]
    lines += [f"  {name}: not usable here: {why}" for name, why in plugins.broken.items()]
    return "\n".join(["plugins", *(lines or ["  none; name one with --plugin"])]) + "\n"


def _defined(plugin: Plugin) -> str:
    return "; ".join(f"{kind} {', '.join(names)}" for kind, names in plugin.names.items())


def _section(kind: str) -> str:
    if kind == "grids":
        entries = [
            Listing(kind=kind, name=grid.name, why=grid.why, default=grid.name == "default")
            for grid in grids().values()
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
