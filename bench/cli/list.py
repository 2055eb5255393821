"""`bench list`: lists the entries of every kind."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.verb import Debug, Format, Plugin, check_format
from bench.errors import check_choice
from bench.text import printable

if TYPE_CHECKING:
    from bench.grid.plugins import Plugins
    from bench.grid.registry import Listing

ZOO = (
    "  and timm:NAME and torchvision:NAME, such as timm:resnet10t: any net of these libraries, "
    "with a stem for small images, at width 1"
)


def list_entries(
    kind: Annotated[
        str | None,
        typer.Argument(
            help="architectures, optimizers, augmentations, pipelines, grids or plugins."
        ),
    ] = None,
    plugin: Plugin = None,
    form: Format = "rich",
    debug: Debug = False,
) -> None:
    """List what can be trained, and why it is there; * marks what the default grid uses."""
    from bench.grid.plugins import used

    check_format(form)
    with used(plugin or ()) as plugins:
        if form == "json":
            rows = [row for of_kind in entries(kind, plugins).values() for row in of_kind]
            text = json.dumps([asdict(row) | _size(row) for row in rows], indent=1) + "\n"
        else:
            text = render_list(kind, plugins)
    typer.echo(printable(text), nl=False)


def entries(kind: str | None, plugins: "Plugins | None" = None) -> "dict[str, list[Listing]]":
    """All entries by kind, sorted by name; plugins only if loaded or requested.

    Raises:
        UsageError: The kind is unknown.
    """
    from bench.grid.grids import grids
    from bench.grid.registry import CATALOGS, Listing, listing

    if kind is not None:
        check_choice("kind of entry", kind, [*CATALOGS, "grids", "plugins"])
    found = {name: listing(name) for name in CATALOGS if kind in (None, name)}
    if kind in (None, "grids"):
        found["grids"] = [
            Listing(kind="grids", name=grid.name, why=grid.why, default=grid.name == "default")
            for grid in grids().values()
        ]
    loaded = _plugin_entries(plugins) if plugins else []
    if kind == "plugins" or (kind is None and loaded):
        found["plugins"] = loaded
    return {kind: sorted(each, key=lambda entry: entry.name) for kind, each in found.items()}


def _plugin_entries(plugins: "Plugins") -> "list[Listing]":
    from bench.grid.registry import Listing

    usable = [
        Listing(
            kind="plugins",
            name=str(plugin.origin),
            why="; ".join(f"{kind} {', '.join(names)}" for kind, names in plugin.names.items()),
        )
        for plugin in plugins.loaded
    ]
    broken = [
        Listing(kind="plugins", name=name, why="", problem=reason)
        for name, reason in plugins.broken.items()
    ]
    return usable + broken


def render_list(kind: str | None, plugins: "Plugins | None" = None) -> str:
    """The entries as text, a section per kind."""
    sections = [_section(name, found) for name, found in entries(kind, plugins).items()]
    return "\n".join(sections)


def _section(kind: str, found: "list[Listing]") -> str:
    if kind == "plugins":
        lines = [f"  {entry.name}: {_reason(entry)}" for entry in found]
        lines = lines or ["  none; name one with --plugin"]
    else:
        width = max(len(entry.name) for entry in found)
        lines = [
            f"  {entry.name:<{width}} {'*' if entry.default else ' '} {_reason(entry)}"
            for entry in found
        ]
    zoo = [ZOO] if kind == "architectures" else []
    return "\n".join([kind, *lines, *zoo]) + "\n"


def _reason(entry: "Listing") -> str:
    if entry.problem:
        return f"not usable here: {entry.problem}"
    size = _size(entry)
    if not size:
        return entry.why
    flops = f"{size['flops'] / 1e9:6.3f} GFLOP" if size["flops"] else " " * 12
    return f"{size['parameters'] / 1e6:6.2f} M {flops}  {entry.why}"


def _size(entry: "Listing") -> dict[str, int]:
    """Parameters and FLOPs of a net; nothing for other entries."""
    import architectures

    if entry.kind != "architectures" or entry.problem:
        return {}
    net = architectures.catalog.entries[entry.name]
    return {"parameters": net.parameters, "flops": net.flops}
