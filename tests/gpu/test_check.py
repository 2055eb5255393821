"""The script behind `make gpu`, with stand-in steps."""

import time
from pathlib import Path

import pytest

from tests.gpu import check
from tests.gpu.check import GROUP, ROOT, Step, gpu_steps, run_steps


def python(name: str, code: str, limit_s: float = 60.0) -> Step:
    return Step(name=name, arguments=["-c", code], limit_s=limit_s)


@pytest.fixture
def report(tmp_path: Path) -> Path:
    return tmp_path / "results" / "gpu.md"


def test_only_passed_steps_are_skipped(report: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "INTERRUPT_S", 5.0)
    again = report.parent / "again"
    steps = [
        python("good", "print('42 images/s')"),
        python("bad", f"from pathlib import Path; Path({str(again)!r}).touch(); exit('no GPU')"),
        python("endless", "import time; time.sleep(600)", limit_s=1.0),
    ]
    since = time.monotonic()
    assert not run_steps(steps, report, device="cpu")
    assert time.monotonic() - since < 60.0
    text = report.read_text()
    for expected in (
        "- torch: 2", "- device: cpu", "## good: passed", "42 images/s", "## bad: failed", "no GPU",
        "## endless: time limit", "KeyboardInterrupt", "(limit 1 s)", "- command: `python -c ",
    ):  # fmt: skip
        assert expected in text, expected
    again.unlink()
    assert not run_steps(steps[:2], report, device="cpu")
    assert again.exists()
    assert report.read_text().count("## good: passed") == 1
    assert run_steps([*steps[:1], python("bad", "")], report, device="cpu")


def test_children_of_a_killed_step_end_with_it(report: Path) -> None:
    code = (
        "import subprocess, sys; print(subprocess.Popen(['sleep', '600'], "
        "stdout=subprocess.DEVNULL).pid, flush=True)"
    )
    run_steps([python("parent", code)], report, device="cpu")
    (log,) = (report.parent / "logs").iterdir()
    stat = Path(f"/proc/{int(log.read_text())}/stat")
    deadline = time.monotonic() + 10
    while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_no_step_starts_beyond_the_budget(report: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not run_steps([python("good", "")], report, device="cpu", budget_s=0.0)
    assert "the budget is used up" in capsys.readouterr().out


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_tests_come_first_then_measurements_in_order_of_worth(device: str, tmp_path: Path) -> None:
    steps = gpu_steps(device, tmp_path, "auto")
    names = [step.name for step in steps]
    assert names[-5:] == ["airnet94", "loaders", "default grid", "airnet96", "roofline"]
    assert all(name.startswith("tests of ") for name in names[:-5])
    assert names[:3] == ["tests of first_checks", "tests of dali", "tests of replay"]
    for step in steps[:-5]:
        assert (ROOT / step.arguments[-1]).is_file()
    assert GROUP in steps[-1].arguments
    (tmp_path / "a_group" / "records").mkdir(parents=True)
    assert str(tmp_path / "a_group") in check._with_group(steps[-1].arguments, tmp_path)


@pytest.mark.parametrize("step", gpu_steps("cpu", Path("out"), "shapes")[-5:], ids=lambda s: s.name)
def test_every_measurement_has_arguments_that_the_command_line_knows(step: Step) -> None:
    from typer.testing import CliRunner

    from bench.cli.app import app

    verb, *arguments = step.arguments[2:]
    help_text = CliRunner().invoke(app, [verb, "--help"], env={"COLUMNS": "200"}).output
    for option in (argument for argument in arguments if argument.startswith("--")):
        assert option in help_text, option
