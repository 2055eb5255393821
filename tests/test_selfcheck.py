"""The self-check with made commands: done, failed, overrun, interrupted, and called again."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.errors import UsageError
from bench.machine.environment import Probe, python_environment
from bench.process import MARK
from bench.selfcheck import check as checking
from bench.selfcheck import conduct as conducting
from bench.selfcheck import hearing, journal, place, published, telling
from bench.selfcheck.check import Options, check
from bench.selfcheck.conduct import Conduct, exit_code, shown
from bench.selfcheck.journal import Call, Journal, Outcome
from bench.selfcheck.parts import Part, Place, Task, parts
from bench.store.files import StoreError
from bench.store.store import Store
from tests.checkout import ROOT
from tests.made import made_record

NO_GPU = Probe(torch="2.11", cuda_problem="no NVIDIA driver", compiler=True)
QUICK_S = 0.4  # a budget that a task which sleeps overruns at once


def script(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


def part(name: str, *codes: str, tmp_path: Path, share: float = 1.0, **more: Any) -> Part:
    """A part of Python scripts, which run in `tmp_path`."""
    tasks = [
        Task(name=f"{name}{number or ''}", command=script(code), folder=tmp_path, **more)
        for number, code in enumerate(codes)
    ]
    return Part(name=name, why="to try", share=share, tasks=tasks)


def conduct(group: Path, made: list[Part], budget_s: float = 60.0, **more: Any) -> Conduct:
    options: dict[str, Any] = {"chosen": (), "report": lambda text: None, "code": "c0de"}
    return Conduct(parts=made, group=group, budget_s=budget_s, **options | more)


def go(conduct: Conduct, before: Journal | None = None) -> Journal:
    journaled = before or Journal(device="cpu", source="shapes", scale="cpu")
    call = Call(started="2026-01-01T00:00:00+00:00", budget_s=conduct.budget_s)
    return conduct.go(journaled, call, time.monotonic())


def statuses(found: Journal) -> dict[str, str]:
    return {one.task: one.status for one in found.outcomes}


def test_parts_go_on_after_one_that_fails_or_cannot_be_started(tmp_path: Path) -> None:
    made = [
        part("good", "print('all well')", tmp_path=tmp_path),
        part("bad", "print('it broke'); raise SystemExit(3)", tmp_path=tmp_path),
        Part(
            name="gone", why="", share=1,
            tasks=[Task(name="gone", command=["no-such-program"], folder=tmp_path)],
        ),
        replace(
            part("absent", "pass", "pass", tmp_path=tmp_path), missing="pytest is not installed"
        ),
        part("last", "print('also well')", tmp_path=tmp_path),
    ]  # fmt: skip
    said: list[str] = []
    found = go(conduct(tmp_path, made, report=said.append))
    assert statuses(found) == {
        "good": "ok", "bad": "failed", "gone": "failed", "absent": "skipped", "last": "ok",
    }  # fmt: skip
    by_task = {one.task: one for one in found.outcomes}
    assert by_task["good"].said == "all well"
    assert by_task["good"].tail == ()
    assert by_task["bad"].said == "exit code 3: it broke"
    assert by_task["bad"].tail == ("it broke",)
    assert by_task["gone"].said == "it cannot be started: No such file or directory"
    assert by_task["absent"].said == "pytest is not installed"
    assert exit_code(found.outcomes) == 1
    assert journal.read(tmp_path) == found
    assert any(line.startswith("bad: failed") for line in said)


def test_a_task_that_overruns_is_stopped_with_all_that_it_started(tmp_path: Path) -> None:
    """It ignores Ctrl-C, and its child has left its group."""
    child = "import time; time.sleep(600)"
    stubborn = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"child = subprocess.Popen([sys.executable, '-S', '-c', {child!r}],\n"
        "    start_new_session=True)\n"
        "open('pid', 'w').write(str(child.pid))\n"
        "time.sleep(600)\n"
    )
    made = [
        part("stubborn", stubborn, tmp_path=tmp_path, grace_s=0.2),
        part("after", "print('well')", tmp_path=tmp_path, share=2),
    ]
    found = go(conduct(tmp_path, made, budget_s=15.0))
    assert statuses(found) == {"stubborn": "stopped", "after": "ok"}
    assert found.outcomes[0].said == "its time was up"
    assert not lives(int((tmp_path / "pid").read_text()))
    assert found.calls[-1].seconds < 15.0


def test_a_task_that_hangs_leaves_time_to_the_rest_of_its_part_and_goes_last_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conducting, "LEAST_S", 0.1)
    hang = "import time; time.sleep(600)"
    made = [part("p", hang, "print('well')", tmp_path=tmp_path, always=True)]
    found = go(conduct(tmp_path, made, budget_s=8.0))
    assert statuses(found) == {"p": "stopped", "p1": "ok"}
    assert [task and task.name for task in conducting._in_turn(made[0], found)] == ["p1", "p"]


def lives(pid: int) -> bool:
    """Whether a process is there and no zombie that nobody has reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_task_that_is_asked_to_end_may_put_things_in_order(tmp_path: Path) -> None:
    tidy = (
        "import time\n"
        "try: time.sleep(600)\n"
        "except KeyboardInterrupt: print('put away'); raise SystemExit(130)\n"
    )
    found = go(conduct(tmp_path, [part("tidy", tidy, tmp_path=tmp_path)], budget_s=4.0))
    assert found.outcomes[0].status == "stopped"
    assert found.outcomes[0].said == "its time was up: put away"


def test_time_that_is_left_over_goes_to_those_that_follow(tmp_path: Path) -> None:
    made = [part(name, "pass", tmp_path=tmp_path, share=share) for name, share in SHARES.items()]
    one = conduct(tmp_path, made, budget_s=1000.0)
    nothing = Journal(device="cpu", source="shapes", scale="cpu")
    ends = [end - time.monotonic() for _, end in one._deadlines(time.monotonic(), nothing)]
    assert ends == pytest.approx([97, 291, 970], abs=1)


SHARES = {"a": 1.0, "b": 2.0, "c": 7.0}


def test_what_is_done_leaves_its_time_to_the_others(tmp_path: Path) -> None:
    made = [part(name, "pass", tmp_path=tmp_path, share=share) for name, share in SHARES.items()]
    one = conduct(tmp_path, made, budget_s=1000.0)
    done = Journal(device="cpu", source="shapes", scale="cpu").with_outcome(
        Outcome(part="c", task="c", status="ok", code="c0de")
    )
    ends = [end - time.monotonic() for _, end in one._deadlines(time.monotonic(), done)]
    assert ends == pytest.approx([970 / 3, 970, 970], abs=1)


def test_without_time_a_task_is_not_begun(tmp_path: Path) -> None:
    made = [part("late", "print('never')", tmp_path=tmp_path)]
    found = go(conduct(tmp_path, made, budget_s=QUICK_S))
    assert found.outcomes[0].status == "not begun"
    assert exit_code(found.outcomes) == 1


def counting(name: str) -> str:
    """Appends a letter to a file: how often it ran."""
    return f"open({name!r}, 'a').write('x'); print('counted')"


def test_a_second_call_does_what_is_left(tmp_path: Path) -> None:
    flag = tmp_path / "mended"
    broken = f"{counting('b')}\nimport os; raise SystemExit(not os.path.exists({str(flag)!r}))"
    made = [
        part("a", counting("a"), tmp_path=tmp_path),
        part("b", counting("b0"), broken, tmp_path=tmp_path),
        part("c", counting("c"), tmp_path=tmp_path, always=True),
    ]
    first = go(conduct(tmp_path, made))
    assert statuses(first) == {"a": "ok", "b": "ok", "b1": "failed", "c": "ok"}
    flag.touch()
    second = go(conduct(tmp_path, made), journal.read(tmp_path))
    assert statuses(second) == {"a": "ok", "b": "ok", "b1": "ok", "c": "ok"}
    ran = {name: (tmp_path / name).read_text() for name in ("a", "b0", "b", "c")}
    assert ran == {"a": "x", "b0": "x", "b": "xx", "c": "xx"}
    assert len(second.calls) == 2
    assert exit_code(second.outcomes) == 0
    go(conduct(tmp_path, made, chosen=("a",)), second)  # asked for by name: again
    go(conduct(tmp_path, made, code="0ther"), second)  # other code: again
    assert (tmp_path / "a").read_text() == "xxx"


def test_a_task_that_there_is_no_more_is_forgotten(tmp_path: Path) -> None:
    first = go(conduct(tmp_path, [part("old", "pass", tmp_path=tmp_path)]))
    second = go(conduct(tmp_path, [part("new", "pass", tmp_path=tmp_path)]), first)
    assert statuses(second) == {"new": "ok"}


def test_no_time_for_what_was_done_before_takes_nothing_from_it(tmp_path: Path) -> None:
    made = [part("c", counting("c"), tmp_path=tmp_path, always=True)]
    first = go(conduct(tmp_path, made))
    second = go(conduct(tmp_path, made, budget_s=QUICK_S), first)
    assert statuses(second) == {"c": "ok"}


def test_a_part_that_there_is_none_of_is_refused(tmp_path: Path) -> None:
    made = [part("airnet94", "pass", tmp_path=tmp_path)]
    with pytest.raises(UsageError, match="unknown part 'airnet49': did you mean airnet94"):
        conduct(tmp_path, made, chosen=("airnet49",))


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_from_outside_ends_the_task_and_files_it(tmp_path: Path, stop: int) -> None:
    """The whole in a process of its own, stopped while its second task sleeps."""
    sleeper = "open('began', 'w'); import time; time.sleep(600)"
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tests.test_selfcheck import conduct, go, part\n"
        f"folder = Path({str(tmp_path)!r})\n"
        f"made = [part(name, code, tmp_path=folder) for name, code in "
        f"(('a', 'print(1)'), ('b', {sleeper!r}), ('c', 'print(3)'))]\n"
        "from bench.selfcheck.conduct import exit_code\n"
        "sys.exit(exit_code(go(conduct(folder, made)).outcomes))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, env=python_environment() | {MARK: tmp_path.name}
    )
    wait_for(lambda: (tmp_path / "began").exists())
    process.send_signal(stop)
    assert process.wait(60) == 130
    found = journal.read(tmp_path)
    assert found is not None
    assert statuses(found) == {"a": "ok", "b": "interrupted"}
    assert found.calls[-1].interrupted
    again = [part(name, "print(2)", tmp_path=tmp_path) for name in "abc"]
    assert statuses(go(conduct(tmp_path, again), found)) == dict.fromkeys("abc", "ok")


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


EVENTS = [
    {"event": "progress", "text": "reading"},
    {
        "event": "plan",
        "todo": [{"run_id": str(i), "name": f"net/seed{i}"} for i in range(4)],
        "done": [{"run_id": "d", "name": "net/seed9", "status": "ok"}],
        "failed": [{"run_id": "f", "name": "net/seed8", "status": "oom"}],
        "skipped": [{"run_id": "s", "name": "kornia", "reason": "kornia is not installed"}],
    },
    {"event": "finished", "name": "kornia", "status": "skipped", "reason": "kornia"},
    {"event": "finished", "name": "net/seed0", "status": "ok", "reason": ""},
    {"event": "finished", "name": "net/seed1", "status": "crashed", "reason": "it broke"},
    {"event": "finished", "name": "net/seed2", "status": "interrupted", "reason": "stopped"},
]


def test_how_far_a_grid_has_come_is_heard_from_its_events(tmp_path: Path) -> None:
    log = tmp_path / "log"
    lines = [json.dumps(event).replace('": ', '":') for event in EVENTS]
    log.write_text("\n".join(["a warning", *lines, '{"event":"epo']))
    assert hearing.grid(log) == "2 ok, 2 left, 1 oom, 1 skipped, 1 crashed; net/seed1: it broke"
    assert hearing.grid_tail(log) == ("net/seed1: it broke", "a warning")


def test_a_grid_that_never_began_says_its_last_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(f"bench: {ROOT}/x is missing in {Path.home()}/y\x1b[2J\n\n")
    assert hearing.grid(log) == "bench: x is missing in ~/y\\x1b[2J"
    assert hearing.last_line(tmp_path / "none") == ""


def test_a_grid_in_a_made_call_tells_its_counts(tmp_path: Path) -> None:
    code = f"import json\nfor e in {EVENTS!r}: print(json.dumps(e, separators=(',', ':')))"
    found = go(conduct(tmp_path, [part("net", code, tmp_path=tmp_path, grid=True)]))
    assert found.outcomes[0].said.startswith("2 ok, 2 left")


def test_a_damaged_journal_is_refused_with_what_to_do(tmp_path: Path) -> None:
    assert journal.read(tmp_path) is None
    (tmp_path / journal.FILE).write_text("{}")
    with pytest.raises(StoreError, match=r"selfcheck\.json cannot be read.*move it away"):
        journal.read(tmp_path)
    journal.write(tmp_path, Journal(device="cpu", source="s", scale="cpu", schema_version=2))
    with pytest.raises(StoreError, match="of version 2"):
        journal.read(tmp_path)


def test_commands_are_shown_as_people_type_them() -> None:
    python = [sys.executable, "-P", "-m"]
    assert shown([*python, "bench", "run", "-k", "a b"]) == "bench run -k 'a b'"
    assert shown([*python, "bench.machine.roofline", "x"]) == "python -m bench.machine.roofline x"
    assert shown(["env", "A=b", *python, "pytest"]) == "env A=b python -m pytest"


# ---- the whole, with made parts


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a GPU and without CIFAR-10."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checking.environment, "probe", lambda: NO_GPU)
    monkeypatch.setattr(checking.environment, "machine_name", lambda device: "made")
    monkeypatch.setattr(checking.sources, "is_cached", lambda name, folder: False)


def made_parts(there: Place) -> list[Part]:
    return [
        part("good", "print('well')", tmp_path=there.folder),
        part("bad", "print('`it` | <broke>'); raise SystemExit(1)", tmp_path=there.folder),
    ]


@pytest.mark.usefixtures("machine")
def test_one_folder_holds_what_ran_and_what_failed(tmp_path: Path) -> None:
    said: list[str] = []
    done = check(Options(source="shapes", out=tmp_path / "out"), said.append, made_parts)
    group = tmp_path / "out" / "made_shapes_cpu"
    assert done.exit_code == 1
    assert str(group) in done.said
    assert "FAILED" in done.said
    found = journal.read(group)
    assert found is not None
    assert statuses(found) == {"data": "ok", "good": "ok", "bad": "failed"}
    assert found.calls[0].environment["torch"] == "2.11"
    assert found.calls[0].environment["cpu"]
    text = (group / telling.FILE).read_text()
    assert "| bad | FAILED |" in text
    assert "exit code 1: `it` \\| &lt;broke>" in text
    assert "airnet94: no run that ended well." in text
    assert str(tmp_path) not in text.replace(str(group), "")
    again = check(
        Options(source="shapes", out=tmp_path / "out", parts=("good",)), said.append, made_parts
    )
    assert again.exit_code == 0
    assert "bad" not in again.said


@pytest.mark.usefixtures("machine")
def test_two_at_once_on_one_folder_are_refused(tmp_path: Path) -> None:
    refused: list[str] = []

    def nested(there: Place) -> list[Part]:
        if refused:
            return made_parts(there)
        refused.append("")
        return [part("outer", "pass", tmp_path=there.folder)]

    class Rival(list[str]):
        """Begins another one while the first reports."""

        def append(self, text: str) -> None:
            if text.startswith("outer: at most"):
                with pytest.raises(StoreError) as error:
                    check(Options(source="shapes", out=tmp_path), lambda text: None, made_parts)
                refused.append(str(error.value))

    check(Options(source="shapes", out=tmp_path), Rival().append, nested)
    assert len(refused) == 2
    assert "made_shapes_cpu" in refused[1]


@pytest.mark.usefixtures("machine")
def test_without_cifar10_it_goes_on_with_shapes_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    command = script("print('no mirror answers'); raise SystemExit(2)")
    monkeypatch.setattr(checking.environment, "python_module", lambda name: command)
    said: list[str] = []
    done = check(Options(out=tmp_path), said.append, made_parts)
    assert any("no mirror answers" in line and "shapes" in line for line in said)
    found = journal.read(tmp_path / "made_shapes_cpu")
    assert found is not None
    assert statuses(found)["data"] == "failed"
    assert done.exit_code == 1
    with pytest.raises(UsageError, match="--source cifar10: it cannot be had here: no mirror"):
        check(Options(out=tmp_path, source="cifar10"), said.append, made_parts)


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"gpu": True}, "no GPU can be used here: no NVIDIA driver"),
        ({"gpu": True, "device": "cpu"}, "leave one of them out"),
        ({"device": "gpu"}, "unknown value of --device 'gpu'"),
        ({"source": "cifar100"}, "unknown value of --source 'cifar100'"),
        ({"budget_s": 5.0}, "--budget is at least 10 s, got 5"),
        ({"budget_s": float("nan")}, "--budget is at least 10 s"),
        ({"parts": ("airnet",), "source": "shapes"}, "unknown part 'airnet'"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(
    tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        check(Options(out=tmp_path, **options), lambda text: None, made_parts)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("machine")
def test_the_command_ends_with_the_code_of_what_it_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(checking.check, "__defaults__", (made_parts,))
    arguments = ["selfcheck", "--device", "cpu", "--source", "shapes", "--out", str(tmp_path)]
    done = CliRunner().invoke(app.app, arguments)
    assert done.exit_code == 1, done.output
    assert "made_shapes_cpu" in done.stdout
    assert "bad: failed" in done.stderr
    refused = CliRunner().invoke(app.app, ["selfcheck", "--gpu"])
    assert refused.exit_code == 2
    assert refused.stderr.startswith("bench: --device cuda: no GPU can be used here")


def test_code_that_changed_has_another_digest(tmp_path: Path) -> None:
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "a.py").write_text("x = 1")
    before = place.code_digest(tmp_path, ("bench", "absent"))
    (tmp_path / "bench" / "a.py").write_text("x = 2")
    assert place.code_digest(tmp_path, ("bench", "absent")) != before


# ---- the real parts


def there(tmp_path: Path, device: str = "cpu") -> Place:
    return Place(
        device=device, source="shapes", data_dir=None, out=tmp_path, group=tmp_path / "g",
        folder=tmp_path,
    )  # fmt: skip


def test_every_real_command_is_one_that_its_verb_takes(tmp_path: Path) -> None:
    """Each `bench` command line of each part is parsed by the verb itself."""
    import typer

    root: Any = typer.main.get_command(app.app)
    found = parts(there(tmp_path, "cpu"))
    names = [one.name for one in found]
    assert names == [
        "doctor", "tests", "airnet94", "airnet96", "loaders", "contract", "default", "roofline",
    ]  # fmt: skip
    tasks = [task for one in found for task in one.tasks]
    assert len({task.name for task in tasks}) == len(tasks)
    parsed = 0
    for task in tasks:
        words = list(task.command)
        at = words.index("-m")
        if words[at + 1] == "bench":
            verb = root.commands[words[at + 2]]
            said = verb.make_context("bench", words[at + 3 :]).params
            assert said.get("device", "cpu") == "cpu"
            parsed += 1
    assert parsed >= 8
    assert {task.name for task in tasks} >= {
        "tests pipelines",
        "tests run",
        "contract native",
        "roofline",
    }


def test_parts_without_their_library_are_left_out_and_say_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from bench.selfcheck import parts as making

    real = making.find_spec
    absent = ("pytest", "kornia")
    monkeypatch.setattr(making, "find_spec", lambda name: None if name in absent else real(name))
    found = {one.name: one for one in parts(there(tmp_path))}
    assert found["tests"].missing == "pytest not installed: pip install '.[dev]'"
    assert "through native" in found["default"].why
    assert list(found["default"].tasks[0].command[-2:]) == ["--pipeline", "native"]
    monkeypatch.setattr(making, "ROOT", tmp_path)
    assert "no checkout" in {one.name: one for one in parts(there(tmp_path))}["tests"].missing


# ---- beside published figures


def run_of(net: str, seed: int, accuracy: float, train_s: float, **more: Any) -> Any:
    cell = {"scale": "full", "source": "cifar10", "device": "cuda", "protocol": "speedrun"}
    record = made_record(
        seed, accuracy=accuracy, architecture=net, eval_views=6, **cell | more,
        record={"environment": {"gpu": "NVIDIA H100 80GB HBM3"}},
    )  # fmt: skip
    timings = replace(record.timings, train_s=train_s, evaluate_s=0.1)
    return replace(record, timings=timings)


def test_figures_stand_beside_the_published_ones_in_plain_words() -> None:
    records = [run_of("airnet94", seed, 0.9405 + 0.0004 * (seed % 2), 0.8) for seed in range(8)]
    said = "\n".join(published.compare(records))
    assert "airnet94, 8 seeds, 6 views, cifar10 at full scale on NVIDIA H100" in said
    assert "accuracy 94.07 % (95 % interval 94.05 to 94.09)" in said
    assert "training 0.800 s (95 % interval 0.800 to 0.800)" in said
    assert "with the final evaluation 0.900 s" in said
    assert "The mean is above 94 %." in said
    assert "airbench94_muon (94.01 % in 2.59 s on an A100" in said
    assert "+0.06 points, 2.88 times as quick, of another card" in said
    assert "aim on an H100, 0.95 s, is reached" in said
    assert "airnet96: no run that ended well." in said


def test_a_mean_below_the_target_is_a_miss() -> None:
    records = [run_of("airnet96", seed, 0.9590 + 0.0002 * (seed % 2), 30.0) for seed in range(6)]
    said = "\n".join(published.compare(records))
    assert "The mean is below 96 %: the target is missed." in said
    assert "1.10 times as slow" in said
    assert "aim on an H100, 11 s, is missed" in said


def test_an_interval_that_holds_the_target_claims_nothing() -> None:
    records = [run_of("airnet94", seed, 0.938 + 0.004 * (seed % 2), 0.8) for seed in range(6)]
    assert "The interval holds 94 %" in "\n".join(published.compare(records))


def test_few_seeds_claim_nothing() -> None:
    (first, *rest) = published.compare([run_of("airnet94", 0, 0.95, 0.8)])
    assert "95.00 % (one seed, no interval)" in first
    assert any("Too few seeds" in line for line in rest)


def test_a_small_scale_is_beside_nothing() -> None:
    said = "\n".join(published.compare([run_of("airnet94", 0, 0.95, 0.8, scale="cpu")]))
    assert "it cannot be compared" in said
    assert "airbench94" not in said


def test_only_the_cell_that_was_trained_last_counts() -> None:
    old = replace(run_of("airnet94", 0, 0.5, 9.0, epochs=7), finished="2025-01-01T00:00:00+00:00")
    new = run_of("airnet94", 1, 0.94, 0.8)
    failed = replace(run_of("airnet94", 2, 0.1, 0.1), status="diverged")
    held_out = run_of("airnet94", 3, 0.2, 0.2, protocol="validation")
    held_out, failed = (replace(one, finished="2027-01-01") for one in (held_out, failed))
    (first, *_) = published.compare([old, new, failed, held_out])
    assert "1 seed," in first
    assert "94.00" in first


def test_suspect_times_are_said() -> None:
    record = replace(run_of("airnet94", 0, 0.94, 0.8), timing_suspect=("another process",))
    assert "times of 1 of them are suspect" in "\n".join(published.compare([record]))


def test_records_of_the_folder_are_what_is_compared(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for seed in range(2):
        store.write(run_of("airnet94", seed, 0.94, 0.8))
    assert "2 seeds" in checking._compared(tmp_path)[0]
