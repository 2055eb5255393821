"""What the verbs share: exit codes, error messages, help layout and common options."""

import errno
import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand

from bench.errors import BenchError, check_choice
from bench.text import for_terminal, in_one_line, printable

# Base class of the parser's errors: Typer's own or click's, by its version.
ParserError: type[Exception] = typer.BadParameter.__mro__[1]
VALUES = {bool: "", int: "N", list[int]: "N", float: "NUMBER", Path: "PATH"}  # others: "NAME"
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Expected errors of `pipelines` by module; what raised one has imported it, quick verbs need none.
PIPELINE_ERRORS = {
    "pipelines.base": ("Unsupported",),
    "pipelines.catalog": ("Unavailable", "UnknownName"),
    "pipelines.sources.errors": ("SourceError",),
}


class Verb(TyperCommand):
    """A command whose function returns the exit code and whose errors are one sentence.

    Exit codes: 0 success, 1 failed run or check, 2 wrong usage or environment, 130 interrupted.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs | {"rich_markup_mode": "rich"})

    def get_params(self, ctx: Any) -> list[Any]:
        """All parameters, with their values described in words."""
        return in_words(super().get_params(ctx))

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Parses the arguments; what is wrong with them is one sentence."""
        try:
            return super().make_context(*args, **kwargs)
        except ParserError as error:
            fail(parser_problem(error), code=2)

    def invoke(self, ctx: Any) -> NoReturn:
        """Runs the verb and exits."""
        try:
            code = super().invoke(ctx)
        except typer.Exit:
            raise
        except KeyboardInterrupt:
            fail("interrupted", code=130)
        except Exception as error:
            if ctx.params.get("debug") or _is_of_output(error):
                raise
            if sentence := _sentence(error):
                fail(sentence, code=2)
            fail(f"{type(error).__name__}: {error} (a bug in bench; see --debug)", code=1)
        raise typer.Exit(code or 0)


def in_words(parameters: list[Any]) -> list[Any]:
    """The parameters, whose help names a value ("N", "SECONDS") instead of a type ("<int>")."""
    for parameter in parameters:
        kind = getattr(getattr(parameter, "type_descriptor", None), "annotation", str)
        is_option = parameter.param_type_name == "option"
        words = (parameter.metavar or VALUES.get(kind, "NAME")) if is_option else ""
        vars(parameter)["display_type_rich"] = lambda ctx, words=words: words
        vars(parameter)["_get_number_range_help_str"] = lambda: None
    return parameters


def parser_problem(error: Any) -> str:
    """What is wrong with the arguments of a command."""
    help_command = f"{error.ctx.command_path} --help" if error.ctx else "bench --help"
    for detail in getattr(error.__cause__, "errors", list)():  # pydantic's, of a number
        option, least = error.param.opts[-1], detail.get("ctx", {}).get("ge", error.param.min)
        whole = detail["type"].startswith("int") or isinstance(least, int)
        bound = "" if least is None else f" of at least {least:g}"
        number = "whole number" if whole else "number"
        return f"{option} takes a {number}{bound}, got {detail['input']!r:.40}"
    message = error.format_message().rstrip(".")
    end = "" if message.endswith("?") else ";"
    return f"{message[:1].lower()}{message[1:]}{end} see {help_command}"


def _is_of_output(error: Exception) -> bool:
    """Whether standard output cannot be written, which `bench.cli.app` reports."""
    if isinstance(error, OSError) and not error.filename:
        return error.errno in (errno.EPIPE, *FULL_DISK)
    return False


def _sentence(error: Exception) -> str:
    """Message for an expected error; "" for a bug."""
    known: list[type[Exception]] = [BenchError]
    for module, names in PIPELINE_ERRORS.items():
        if imported := sys.modules.get(module):
            known += [getattr(imported, name) for name in names]
    if isinstance(error, tuple(known)):
        return str(error)
    if isinstance(error, ImportError):
        package = (error.name or "").partition(".")[0]
        if package not in ("bench", "pipelines", "architectures"):
            return f"a library cannot be imported ({error}): see bench doctor"
    if isinstance(error, OSError) and error.strerror and error.filename:
        return (
            f"{os.fsdecode(error.filename)} cannot be used: {error.strerror}; change its "
            "permissions or name another file or folder (--debug shows where it was needed)"
        )
    return ""


def fail(message: str, *, code: int) -> NoReturn:
    """Prints one sentence on standard error and exits."""
    log(f"bench: {in_one_line(message)}")
    raise typer.Exit(code)


def log(text: str) -> None:
    """Prints a line for people on standard error, wrapped on a terminal."""
    typer.echo(for_terminal(printable(text), sys.stderr), err=True)


def screen() -> tuple[int | None, bool]:
    """Width of the terminal, None if it is none, and whether to use colours."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        return None, False
    return console.width, not console.no_color  # NO_COLOR is honoured


Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Format = Annotated[str, typer.Option("--format", help="rich or json.")]
Results = Annotated[Path, typer.Argument(help="A results folder, or one group in it.")]
DataDir = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER", help="Where datasets are cached; may hold torchvision's CIFAR files."
    ),
]
Source = Annotated[
    str, typer.Option(help="auto, cifar10, cifar100, shapes, folder:PATH or npz:PATH.")
]
ImageSize = Annotated[
    int | None,
    typer.Option(
        metavar="PIXELS", help="Resize a folder's images to this width and height (default: 32)."
    ),
]
Decode = Annotated[
    bool,
    typer.Option(
        "--decode", help="Decode a folder's files in every epoch, in pipelines that can do that."
    ),
]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Leave out a folder's files that cannot be read.")
]
Device = Annotated[str, typer.Option(help="auto, cuda or cpu.")]
Select = Annotated[
    str,
    typer.Option(
        "-k",
        metavar="WORDS",
        help="Only cells that match: 'resnet18 and not adamw', 'sgd and 25 epochs'.",
    ),
]
Scale = Annotated[
    str | None, typer.Option(help="full, desk or cpu (default: full on a GPU, else cpu).")
]
Epochs = Annotated[int | None, typer.Option(help="Epochs per run (default: by scale).")]
Timeout = Annotated[float, typer.Option(min=1.0, metavar="SECONDS", help="Time limit of each run.")]
Plugin = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE|MODULE", help="Adds your own entries (docs/plugins.md); can be repeated."
    ),
]
Out = Annotated[Path, typer.Option(metavar="FOLDER", help="Results folder.")]


def check_format(form: str) -> None:
    """Raises UsageError if a value of `Format` is unknown."""
    check_choice("format", form, ("rich", "json"))


def source_name(
    source: str, image_size: int | None, *, decode: bool = False, skip_bad: bool = False
) -> str:
    """The source's name with the options about its files, as cells spell it."""
    from pipelines.sources.tree_name import with_options

    return with_options(source, image_size=image_size, decode=decode, skip_bad=skip_bad)
