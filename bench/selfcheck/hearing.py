"""One sentence out of what a command printed."""

from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from bench.text import in_one_line

TAIL = 30  # lines of a command that did not end well
LONGEST = 300  # letters of a line
REASONS = 2  # of failed runs that the sentence names
EVENT = '{"event":'
ROOT = Path(__file__).resolve().parents[2]


def last_line(log: Path) -> str:
    """The last line that says something; "" if there is none."""
    return next((line for line in reversed(_lines(log)) if line), "")


def tail(log: Path) -> tuple[str, ...]:
    """The last lines, without the folders of user and suite in them."""
    return tuple(_lines(log)[-TAIL:])


def grid_tail(log: Path) -> tuple[str, ...]:
    """Why runs failed, and what was printed beside the events; nobody reads those."""
    failed = [f"{one['name']}: {one['reason']}" for one in _events(log) if _is_failure(one)]
    printed = [line for line in _lines(log) if not line.startswith(EVENT)]
    return tuple([*failed, *printed][-TAIL:])


def grid(log: Path) -> str:
    """How far a grid has come and what failed, from its events."""
    counts: Counter[str] = Counter()
    reasons: list[str] = []
    planned = False
    for event in _events(log):
        match event.get("event"):
            case "plan":
                planned = True
                for key in ("done", "failed"):
                    counts.update(one["status"] for one in event[key])
                counts["left"] = len(event["todo"])
            case "finished":
                status = event["status"]
                counts[status] += 1
                counts["left"] -= status != "skipped"
                if _is_failure(event):
                    reasons.append(f"{event['name']}: {event['reason']}")
    if not planned:
        return last_line(log)
    counts["left"] += counts.pop("interrupted", 0)  # they are trained again
    said = [f"{counts.pop('ok', 0)} ok", f"{counts.pop('left', 0)} left"]
    said += [f"{number} {status}" for status, number in counts.items() if number]
    more = f"; {len(reasons) - REASONS} more reasons" if len(reasons) > REASONS else ""
    return "; ".join([", ".join(said), *reasons[:REASONS]]) + more


def _is_failure(event: dict[str, Any]) -> bool:
    well = ("ok", "skipped", "interrupted")
    return event.get("event") == "finished" and event["status"] not in well


def _events(log: Path) -> list[dict[str, Any]]:
    """The events among the lines; what else was printed is no event."""
    found = []
    for line in _text(log).splitlines():
        if not line.startswith(EVENT):
            continue
        try:
            found.append(msgspec.json.decode(line))
        except ValueError:  # the last line of one that was killed
            continue
    return found


def _lines(log: Path) -> list[str]:
    said = (in_one_line(_hidden(line)).strip() for line in _text(log).splitlines())
    return [line if len(line) <= LONGEST else f"{line[:LONGEST]}…" for line in said]


def _hidden(line: str) -> str:
    """Without the folders that are nobody else's business."""
    line = line.replace(f"{ROOT}/", "")
    try:
        return line.replace(str(Path.home()), "~")
    except RuntimeError:  # a user without an entry in the list of users and without HOME
        return line


def _text(log: Path) -> str:
    try:
        return log.read_text(errors="replace")
    except OSError:
        return ""
