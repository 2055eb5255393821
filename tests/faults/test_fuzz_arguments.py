"""Random command lines and recipe files are carried out or refused in one sentence.

The command line is called in process, on an invented machine; nothing is trained or written.
"""

import json
import string
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import bench.grid.plan as planning
from bench.cell import Run
from bench.cli import app
from bench.errors import UsageError
from bench.grid import overrides, recipe_files
from bench.machine.environment import Probe
from bench.recipe import Recipe
from bench.report.matrix import build
from bench.store.store import Store
from pipelines import sources
from tests.faults.fuzzing import TIMES, run_isolated
from tests.faults.mutations import ODD_TEXTS, TOKENS, changed_bytes, with_token, with_values
from tests.made import made_cell, made_failure, made_record
from tests.made_device import device_is

NO_GPU = Probe(torch="2.11", cuda_problem="no NVIDIA driver", compiler=True)
WORDS = (
    "resnet18",
    "sgd",
    "none",
    "kornia",
    "cnn4",
    "adamw",
    "flip_crop",
    "zzz",
    "k",
    "/",
    "seed0",
)
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
    "folder:x[size=8", "FOLDER:x", "folder:~nobody-of-that-name/x", "shapes[decode]", "folder:%00",
)  # fmt: skip
KEYS = (
    "batch_size", "width", "eval_views", "optimizer.lr", "optimizer.weight_decay", "optimizer.",
    "optimizer.momentum", "optimizer.nope", "schedule", "warmup", "start_factor", "end_factor",
    "label_smoothing", "average", "average_decay", "lr", "", "=", "architecture", "__class__",
)  # fmt: skip
COLUMNS = tuple(build([made_record()]).frame.columns)
GIVEN = settings(
    max_examples=60 * TIMES,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder to stand in, on a machine without a GPU and without a network."""

    def resolve(asked: str, *places: object, **report: object) -> tuple[str, str]:
        return ("shapes", "no network") if asked == "auto" else sources.resolve(asked)

    def load(name: str, data_dir: Path, report: Callable[[str], None]) -> Any:
        if name.startswith("folder:"):
            return sources.load(name, data_dir, report=report)
        return SimpleNamespace(fingerprint="f00d", train=SimpleNamespace(classes=("a", "b")))

    made = SimpleNamespace(default_data_dir=lambda: tmp_path / "data", resolve=resolve, load=load)
    monkeypatch.chdir(tmp_path)
    device_is(monkeypatch, NO_GPU)
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
    assert done.exception is None or isinstance(done.exception, SystemExit), (
        shown,
        repr(done.exception),
    )
    assert done.exit_code in (0, 2), shown
    assert "Traceback" not in done.output, shown
    assert "a bug in bench" not in done.output, shown
    assert not {"\x1b", "\x07", "\x9b", "\0"} & set(done.output), shown
    if done.exit_code == 2 and not done.stderr.startswith("Usage:"):
        assert len(done.stderr.rstrip("\n").split("\n")) <= 1 + done.stderr.count("NOTICE"), shown
    return int(done.exit_code)


def expression(random: Random) -> str:
    """Something like what -k takes, or nothing like it."""
    match random.randrange(8):
        case 0:
            return random.choice(("(", "not ", "((x) or ", "a and ", ")")) * random.choice(
                (1, 50, 9000)
            )
        case 1:
            return "".join(random.choices(string.printable, k=random.randrange(30)))
        case 2:
            return random.choice(ODD_TEXTS)
        case 3:
            return " or ".join(random.choices(WORDS, k=random.choice((1, 5, 3000))))
    tokens = random.choices([*WORDS, "and", "or", "not", "(", ")"], k=random.randrange(9))
    return " ".join(tokens)


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


@pytest.mark.slow
def test_any_words_after_bench_run_end_well(machine: Path) -> None:
    def work() -> None:
        random = Random(1)
        ends = [
            call("run", "--dry-run", "--device", "cpu", "--grid", "smoke", *run_words(random))
            for _ in range(250 * TIMES)
        ]
        assert {0, 2} == set(ends)

    run_isolated(work, writes=[machine / "data"])
    assert sorted(path.name for path in machine.iterdir()) == ["made"]


def test_any_value_of_set_is_a_number_that_can_be_kept_or_is_refused() -> None:
    cells = [made_cell(recipe=Recipe(lr=0.1))]
    kept = 0
    for key in KEYS:
        for value in (*NUMBERS, *ODD_TEXTS):
            try:
                (cell,) = overrides.apply(cells, overrides.parse([f"{key}={value}"]))
            except UsageError:
                continue
            kept += 1
            assert Run(cell=cell, seed=0).id
    assert kept > 50


@pytest.mark.slow
def test_any_words_after_bench_table_and_show_end_well(machine: Path) -> None:
    def work() -> None:
        random = Random(2)
        ends = [call("table", "made", *table_words(random)) for _ in range(120 * TIMES)]
        assert {0, 2} == set(ends)
        for text in ODD_TEXTS:
            call("show", f"x{text}" if text.startswith("-") else text, "made")
            call("list", f"x{text}")
            call("check", f"x{text}")
            call("merge", f"x{text}", "--out", "made/all")

    run_isolated(work, writes=[machine / "made"])


@GIVEN
@given(anything=st.text(max_size=60), nearly=st.text(st.sampled_from("() andotrk/18"), max_size=40))
def test_any_text_is_an_expression_or_is_refused(machine: Path, anything: str, nearly: str) -> None:
    for text in (anything, nearly):
        call("run", "--dry-run", "--grid", "smoke", "--device", "cpu", f"-k{text}")


def read_recipes(path: Path) -> bool:
    try:
        recipe_files.read(path)
    except UsageError as error:
        reason = str(error)
        assert "\n" not in reason.replace(str(path), "") or len(reason) < 6000
        return False
    return True


def bad_recipes(random: Random, good: str, count: int) -> Sequence[bytes]:
    made = []
    for number in range(count):
        match number % 3:
            case 0:
                made.append(changed_bytes(random, good.encode()))
            case 1:
                made.append(with_token(random, json.loads(good)))
            case 2:
                made.append(json.dumps(with_values(random, json.loads(good))).encode())
    return [*made, *TOKENS]


def test_any_file_of_recipes_is_read_or_refused(tmp_path: Path) -> None:
    entries = [
        recipe_files.Entry(architecture="cnn4", optimizer=name, batch_size=64,
                           recipe=Recipe(lr=0.1, options=options))
        for name, options in (("sgd", (("momentum", 0.9),)), ("adamw", ()))
    ]  # fmt: skip
    good = recipe_files.render(entries)
    path = tmp_path / "recipes.json"
    path.write_text(good)
    assert read_recipes(path)

    def work() -> None:
        read = 0
        for text in bad_recipes(Random(5), good, 1200 * TIMES):
            path.write_bytes(text)
            read += read_recipes(path)
        assert 0 < read < 400 * TIMES

    run_isolated(work, writes=[tmp_path])
