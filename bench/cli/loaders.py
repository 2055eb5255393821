"""`bench loaders`: measures pipelines alone, without a net."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli import verb

if TYPE_CHECKING:
    from bench.store.loaders_record import LoadersRecord
    from bench.text import Log


def loaders(
    pipeline: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only this one; can be repeated (default: all)."),
    ] = None,
    plugin: verb.Plugin = None,
    augmentation: Annotated[
        str, typer.Option(help="Augmentation that each pipeline applies.")
    ] = "flip_crop_cutout",
    batch_size: Annotated[
        list[int] | None,
        typer.Option(
            metavar="IMAGES",
            help="Can be repeated (default: 128, 512, 2048; on a GPU 50000 too; of files 128).",
        ),
    ] = None,
    source: verb.Source = "auto",
    image_size: verb.ImageSize = None,
    decode: verb.Decode = False,
    skip_bad: verb.SkipBad = False,
    data_dir: verb.DataDir = None,
    device: verb.Device = "auto",
    repeats: Annotated[
        int,
        typer.Option(
            help="Repeats per pipeline and batch size; up to twice if some are disturbed."
        ),
    ] = 5,
    seconds: Annotated[
        float, typer.Option(metavar="SECONDS", help="Minimum time of a repeat.")
    ] = 1.0,
    cold: Annotated[
        bool,
        typer.Option("--cold", help="First a repeat with the image files out of the page cache."),
    ] = False,
    form: Annotated[str, typer.Option("--format", help="rich, md, csv or json.")] = "rich",
    out: verb.Out = Path("results"),
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Check each op of each pipeline instead of measuring."),
    ] = False,
    debug: verb.Debug = False,
) -> int:
    """Measure each pipeline alone, without a net, alternating with the others."""
    from bench.errors import check_choice
    from bench.loaders.plan import Options
    from bench.machine import environment
    from bench.process import import_in_background
    from bench.report.loaders import render, rows, suspect_count
    from bench.report.render import FORMS

    check_choice("format", form, FORMS)
    options = Options(
        pipelines=pipeline or (),
        augmentation=augmentation,
        batch_sizes=batch_size or (),
        source=verb.source_name(source, image_size, decode=decode, skip_bad=skip_bad),
        data_dir=data_dir,
        device=device,
        repeats=repeats,
        repeat_s=seconds,
        cold=cold,
        out=out,
    )
    with import_in_background("torch"):
        probe = environment.probe()  # before anything else imports torch
    from bench.cli.progress import TextReporter
    from bench.grid.plugins import used
    from bench.loaders import measure, plan
    from bench.loaders import verify as verifying

    console = TextReporter(file=sys.stderr)
    with used(plugin or ()) as plugins:
        if verify:
            found = verifying.verify_all(*verifying.choose(options, probe), console.progress)
            return verifying.show(found, console.progress, partial(_echo, verifying.render, form))
        planned = plan.make(options, console.progress, probe)
    for text in (*planned.notices, *plugins.notices()):
        console.notice(text)
    record = measure.measure(planned, console.progress)
    _echo(render, form, record)  # before writing, which may fail
    _keep(planned.folder, console.progress, record)
    console.progress(f"table and all values: {planned.folder / 'loaders.*'}")
    if suspect := suspect_count(rows(record)):
        console.notice(f"{suspect}: measure again on a quiet machine.")
    return measure.exit_code(record)


def _echo(render: Callable[..., str], form: str, what: object) -> None:
    width, color = verb.screen()
    typer.echo(render(what, form, width=width, color=color), nl=False)


def _keep(folder: Path, log: "Log", record: "LoadersRecord") -> None:
    from bench.report.loaders import write_tables
    from bench.store.store import Store
    from bench.tensorboard.overview import write_loaders

    store = Store(folder)
    write_tables(store, record)
    write_loaders(store, record.images_per_s, on_error=log)
