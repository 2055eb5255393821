"""`bench list`: lists the entries of every kind."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli.verb import Debug, Format, Plugin, check_format, screen
from bench.errors import BenchError, check_choice
from bench.text import printable, wrapped

if TYPE_CHECKING:
    from bench.grid.plugins import Plugins
    from bench.listing import Listing
    from bench.record import Record

ZOO = (
    "and timm:NAME and torchvision:NAME, such as timm:resnet10t: any net of these libraries, "
    "with a stem for small images, at width 1"
)
UNTIMED = "After `bench run --grid smoke`, this list says how long each grid takes on this machine."


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
    check_format(form)
    from bench.grid.plugins import used

    with used(plugin or ()) as plugins:
        found = entries(kind, plugins)
    if form == "json":
        rows = [_json(entry) for of_kind in found.values() for entry in of_kind]
        text = json.dumps(rows, indent=1) + "\n"
    else:
        text = render(found, screen()[0])
    typer.echo(printable(text), nl=False)


def entries(kind: str | None, plugins: "Plugins | None" = None) -> "dict[str, list[Listing]]":
    """All entries by kind, sorted by name; plugins only if loaded; UsageError for another kind."""
    from bench.grid import registry
    from bench.listing import TYPES

    if kind is not None:
        check_choice("kind of entry", kind, [*TYPES, "grids", "plugins"])
    listed = {name: registry.known(name) for name in TYPES}
    found = {name: of_kind for name, of_kind in listed.items() if kind in (None, name)}
    if kind in (None, "grids"):
        found["grids"] = _grids(listed["architectures"])
    loaded = _plugin_entries(plugins) if plugins else []
    if kind == "plugins" or (kind is None and loaded):
        found["plugins"] = loaded
    return {kind: sorted(each, key=lambda entry: entry.name) for kind, each in found.items()}


def _grids(nets: "Sequence[Listing]") -> "list[Listing]":
    """All grids with their number of cells and duration here."""
    from bench.cell import Run, Scale
    from bench.executors.base import TimeLeft
    from bench.grid import grids, recipe_files
    from bench.listing import Listing
    from bench.machine.environment import machine_names

    machines = machine_names()
    scale: Scale = "full" if len(machines) > 1 else "cpu"
    config = grids.GridConfig(base=grids.BUDGETS[scale], book=recipe_files.book(scale))
    records = [each for each in _records(machines) if each.cell.scale == scale]
    found, runs = [], [record.run for record in records]
    for name, grid in grids.grids().items():
        entry = Listing(kind="grids", name=name, why=grid.why, default=name == "default")
        try:
            cells = grids.unique(grids.cells_of(name, config))
        except BenchError as error:  # of a plugin
            entry, cells = replace(entry, problem=str(error)), []
        timed = [] if grid.files else cells  # the work depends on the size of the user's images
        found.append((replace(entry, cells=len(cells)), [Run(cell=cell, seed=0) for cell in timed]))
        runs += found[-1][1]
    flops = {entry.name: entry.flops for entry in nets if entry.flops}
    work = {
        run.id: float(flops[run.cell.architecture] * run.cell.epochs * (run.cell.train_images or 1))
        for run in runs
        if run.cell.architecture in flops
    }
    left = TimeLeft(work)
    for record in records:
        left.learn(record)
    return [
        replace(entry, expected_s=left.of_all(of_grid) if of_grid else None)
        for entry, of_grid in found
    ]


def _records(machines: Sequence[str]) -> "list[Record]":
    """Records of this machine in the folder `results`, if any can be read."""
    from bench.store.groups import groups
    from bench.store.store import Store

    try:
        found = groups(Path("results"), machines=machines)
        mine = [Store(group.folder) for group in found if group.machine in machines]
        return [record for store in mine for record in store.records(lambda warning: None)]
    except BenchError:
        return []


def _plugin_entries(plugins: "Plugins") -> "list[Listing]":
    from bench.listing import Listing

    found = [
        Listing(kind="plugins", name=name, why="", problem=reason)
        for name, reason in plugins.broken.items()
    ]
    for plugin in plugins.loaded:
        why = "; ".join(f"{kind} {', '.join(names)}" for kind, names in plugin.names.items())
        found.append(Listing(kind="plugins", name=str(plugin.origin), why=why))
    return found


def _json(entry: "Listing") -> dict[str, Any]:
    """The fields of an entry; of sizes only those that its kind has."""
    from bench.listing import PLANNED

    fields = {name: value for name, value in asdict(entry).items() if name not in PLANNED}
    sizes = ("modes", "decodes", "install", "parameters", "flops", "cells", "expected_s")
    return {name: value for name, value in fields.items() if value or name not in sizes}


def render(found: "Mapping[str, Sequence[Listing]]", width: int | None = None) -> str:
    """The entries as text, a section per kind."""
    return "\n".join(_section(kind, of_kind, width) for kind, of_kind in found.items())


def _section(kind: str, found: "Sequence[Listing]", width: int | None) -> str:
    names = max((len(entry.name) for entry in found), default=0)
    sizes = max((len(_size(entry)) for entry in found), default=0)
    lines = []
    for entry in found:
        size = f" {_size(entry):<{sizes}}" if sizes else ""
        head = f"  {entry.name:<{names}} {'*' if entry.default else ' '}{size}"
        head = f"  {entry.name}:" if kind == "plugins" else head
        problem = f"not usable here: {entry.problem}" if entry.problem else ""
        lines.append((head, "; ".join(filter(None, (problem, entry.why)))))
    if kind == "plugins" and not found:
        lines.append((" ", "none; name one with --plugin"))
    if kind == "architectures":
        lines.append((" ", ZOO))
    if kind == "grids" and not any(entry.expected_s for entry in found):
        lines.append((" ", UNTIMED))
    texts = [wrapped(f"{head} {text}", width, " " * (len(head) + 1)) for head, text in lines]
    return "\n".join([kind, *texts]) + "\n"


def _size(entry: "Listing") -> str:
    """Parameters and FLOPs of a net, cells and time of a grid; "" for other entries."""
    if entry.cells:
        return f"{entry.cells:>3} cell{'s' if entry.cells > 1 else ''}{_about(entry.expected_s)} "
    if not entry.parameters:
        return ""
    flops = f"{entry.flops / 1e9:6.3f} GFLOP" if entry.flops else ""
    return f"{entry.parameters / 1e6:6.2f} M {flops} "


def _about(seconds: float | None) -> str:
    if seconds is None or seconds < 60:
        return "" if seconds is None else ", under 1 min"
    minutes = seconds / 60
    return f", about {minutes:.0f} min" if minutes < 90 else f", about {minutes / 60:.1f} h"
