"""Random command lines and recipe files are accepted, or refused in one sentence."""

import json
import re
import string
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import bench.grid.plan as planning
from bench.cli import app
from bench.errors import UsageError
from bench.grid import recipe_files
from bench.recipe import Recipe
from bench.report.matrix import build
from bench.store.store import Store
from pipelines import sources
from tests.faults.fuzzing import TIMES, run_isolated
from tests.faults.mutations import ODD_TEXTS, TOKENS, changed_bytes, with_token, with_values
from tests.made import made_failure, made_record
from tests.made_device import made_data

WORDS = ("resnet18", "sgd", "none", "kornia", "cnn4", "flip_crop", "zzz", "k", "/", "seed0")
NUMBERS = (
    "0", "1", "2", "-1", "0.5", "1e3", "nan", "inf", "-inf", "1e999", "9" * 30, "9" * 400,
    "9" * 5000, "1_0", " 1", "0x10", "\u0663", "1,5", "", "1e-320", "2147483648", "1000000",
    "18446744073709551616",
)  # fmt: skip
SPELLINGS = (
    "kornia", "kornia[compiled]", "kornia[", "kornia]", "kornia[]", "kornia[=]", "kornia[a=b=c]",
    "torchvision[workers=2]", "torchvision[workers=-1]", "torchvision[workers=99999999999]",
    "torchvision[workers=two]", "torchvision[workers=2,workers=3]", "dali[dynamic,,]", "[]", "[x]",
    "native[compiled[compiled]]", "KORNIA", "kornia ", "kornia\n", "kornia[" + "a," * 3000 + "]",
)  # fmt: skip
SOURCES = (
    "shapes", "auto", "cifar11", "folder:", "folder:.", "folder:/", "folder:/nowhere", "folder:~",
    "folder:/dev/null", "folder:x[size=0]", "folder:x[size=999999999]", "folder:x[size=٣]",
    "folder:x[decode,decode]", "folder:\0", "folder:" + "x" * 5000, "folder:" + "[size=8]" * 500,
    "npz:", "npz:.", "npz:/dev/null", "npz:x[size=8]", "folder:x[skip-bad=٣]", "folder:x[test=val]",
    "folder:x[size=8", "FOLDER:x", "folder:~nobody-of-that-name/x", "shapes[decode]", "folder:%00",
)  # fmt: skip
KEYS = (
    "batch_size", "width", "eval_views", "optimizer.lr", "optimizer.weight_decay", "optimizer.",
    "optimizer.momentum", "optimizer.nope", "schedule", "warmup", "start_factor", "end_factor",
    "label_smoothing", "average", "average_decay", "lr", "", "=", "architecture", "__class__",
)  # fmt: skip
COLUMNS = tuple(build([made_record()]).frame.columns)


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch, machine: None, tmp_path: Path) -> Path:
    """The working folder, with some records in `made`."""

    def resolve(asked: str, *places: object, **report: object) -> tuple[str, str]:
        return ("shapes", "no network") if asked == "auto" else sources.resolve(asked)

    def load(name: str, data_dir: Path, report: Callable[[str], None]) -> Any:
        if name.startswith(("folder:", "npz:")):
            return sources.load(name, data_dir, report=report)
        return made_data([number % 10 for number in range(5000)], name=name)

    made = SimpleNamespace(
        default_data_dir=lambda: tmp_path / "data",
        identify=lambda *asked: None,
        resolve=resolve,
        load=load,
    )
    monkeypatch.setattr(planning.environment, "nvidia_smi", lambda *fields: "")
    monkeypatch.setattr(planning, "sources", made)
    call("run", "--dry-run", "--grid", "pipelines", "--device", "cpu")  # probes a compiler, once
    for record in (made_record(), made_failure(3), made_record(optimizer="adamw")):
        Store(tmp_path / "made").write(record)
    return tmp_path


def call(*arguments: str) -> int:
    """Calls `bench`, which must give a result or one sentence."""
    done = CliRunner().invoke(app.app, list(arguments))
    shown = f"{arguments!r:.300} gave {done.exit_code}: {done.output[-2000:]}"
    assert isinstance(done.exception, SystemExit | None), (shown, repr(done.exception))
    assert done.exit_code in (0, 2), shown
    assert not re.search("Traceback|a bug in bench|[\x1b\x07\x9b\0]", done.output), shown
    if done.exit_code == 2 and not done.stderr.startswith("Usage:"):
        assert len(done.stderr.rstrip("\n").split("\n")) <= 1 + done.stderr.count("NOTICE"), shown
    return int(done.exit_code)


def expression(random: Random) -> str:
    """An expression for -k, valid or not."""
    repeated = random.choice(("(", "not ", "((x) or ", "a and ", ")"))
    kinds: tuple[Callable[[], str], ...] = (
        lambda: repeated * random.choice((1, 50, 9000)),
        lambda: "".join(random.choices(string.printable, k=random.randrange(30))),
        lambda: random.choice(ODD_TEXTS),
        lambda: " or ".join(random.choices(WORDS, k=random.choice((1, 5, 3000)))),
        lambda: " ".join(random.choices([*WORDS, "and", "or", "not", "(", ")"], k=5)),
    )
    return random.choice(kinds)()


def run_words(random: Random) -> list[str]:
    number = random.choice(NUMBERS)
    value = random.choice((number, random.choice(ODD_TEXTS), "none", "ema", "one_cycle"))
    options = [
        ("-k", expression(random)),
        ("-k", expression(random)),
        ("--set", f"{random.choice(KEYS)}{random.choice(('=', '', '=='))}{value}"),
        ("--set", f"{random.choice(KEYS)}={number}"),
        ("--seeds", number),
        ("--seed", number),
        ("--rerun", random.choice((number, *ODD_TEXTS, *WORDS))),
        ("--shard", random.choice((f"{number}/8", f"1/{number}", *ODD_TEXTS))),
        ("--epochs", number),
        ("--target", number),
        ("--image-size", number),
        ("--source", random.choice((*SOURCES, *ODD_TEXTS))),
        ("--pipeline", random.choice((*SPELLINGS, *ODD_TEXTS))),
        (f"--{random.choice(('architecture', 'optimizer', 'augmentation', 'grid'))}",
         random.choice((*ODD_TEXTS, *WORDS, "timm:", "timm:../x", "torchvision:x[", "timm:\0"))),
        ("--scale", random.choice(("full", "cpu", *ODD_TEXTS))),
        ("--out", random.choice(("/dev/null", "/proc/x", "a/b", "", "x" * 999, "\0", "caf\udce9"))),
        ("--recipes", random.choice(("/dev/null", "/", "", "no", "\0", "/dev/zero", "/dev/stdin"))),
    ]  # fmt: skip
    chosen = random.sample(options, k=random.choice((1, 1, 2)))
    return [word for option in chosen for word in option]


def table_words(random: Random) -> list[str]:
    names = random.choices(
        [*COLUMNS, "notes", "acuracy", "", " ", *ODD_TEXTS], k=random.choice((1, 2, 3))
    )
    listed = ",".join(names)
    options = [
        ("--sort", names[0]),
        ("--columns", listed),
        ("--metric", names[0]),
        ("--pivot", listed),
        ("--group", listed),
        ("--target", random.choice(NUMBERS)),
        ("--format", random.choice(("rich", "md", "csv", "html", "latex", "json", *ODD_TEXTS))),
        ("-k", expression(random)),
    ]
    chosen = random.sample(options, k=random.choice((1, 1, 2, 3)))
    return [word for option in chosen for word in option]


@pytest.mark.parametrize("count", [60, pytest.param(250, marks=pytest.mark.slow)])
def test_any_arguments_of_run_and_table_end_well(results: Path, count: int) -> None:
    run = ("run", "--dry-run", "--device", "cpu", "--grid", "smoke")

    def work() -> None:
        torch.set_num_threads(1)  # the threads of the process that was forked are not in this one
        random = Random(count)
        ends = [call(*run, *run_words(random)) for _ in range(count * TIMES)]
        assert {0, 2} == set(ends)
        ends = [call("table", "made", *table_words(random)) for _ in range(count // 2 * TIMES)]
        assert {0, 2} == set(ends)
        for text in ODD_TEXTS:
            call("show", f"x{text}" if text.startswith("-") else text, "made")
            call("list", f"x{text}")
            call("check", f"x{text}")
            call("merge", f"x{text}", "--out", "made/all")

    run_isolated(work, writes=[results / "data", results / "made"])
    assert [path.name for path in results.iterdir()] == ["made"]


def read_recipes(path: Path) -> bool:
    """Whether the file can be read; if not, the reason is one line."""
    try:
        recipe_files.read(path)
    except UsageError as error:
        reason = str(error)
    else:
        return True
    assert "\n" not in reason or len(reason) < 6000
    return False


def test_any_file_of_recipes_is_read_or_refused(tmp_path: Path) -> None:
    entries = [
        recipe_files.Entry(architecture="cnn4", optimizer=name, batch_size=64,
                           recipe=Recipe(lr=0.1, options=options))
        for name, options in (("sgd", (("momentum", 0.9),)), ("adamw", ()))
    ]  # fmt: skip
    good = recipe_files.render(entries).encode()
    plain, path = json.loads(good), tmp_path / "recipes.json"
    changes: tuple[Callable[[Random], bytes], ...] = (
        lambda random: changed_bytes(random, good),
        lambda random: with_token(random, plain),
        lambda random: json.dumps(with_values(random, plain)).encode(),
    )

    def work() -> None:
        random = Random(5)
        changed = [change(random) for change in changes for _ in range(120 * TIMES)]
        can_be_read = []
        for content in (good, *changed, *TOKENS):
            path.write_bytes(content)
            can_be_read.append(read_recipes(path))
        assert can_be_read[0]
        assert 1 < sum(can_be_read) < 120 * TIMES

    run_isolated(work, writes=[tmp_path])
