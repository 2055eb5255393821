"""Why these metrics, this loss, these rules and these entries: on the page, and docs/reasons.md.

python -m bench.report.reasons     # prints docs/reasons.md

Each entry's name and its `why`, read from the files without importing them: torch takes seconds.

An entry is a call with a literal `name` and `why`; a test compares what is found here with what the
registries hold.
"""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {
    "architectures": ROOT / "architectures",
    "optimizers": ROOT / "bench" / "optimizers",
    "augmentations": ROOT / "pipelines" / "augmentations",
    "pipelines": ROOT / "pipelines",
}


@dataclass(frozen=True, kw_only=True)
class Why:
    """One entry.

    Args:
        name: What people type.
        why: Its reason, one sentence.
        default: Whether the default grid uses it.
    """

    name: str
    why: str
    default: bool = False


def whys(folder: Path) -> list[Why]:
    """The entries in the files of `folder`, in the order of files and lines."""
    return [why for path in sorted(folder.glob("*.py")) for why in _in_file(path)]


def _in_file(path: Path) -> list[Why]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # `bench list` names a file that cannot be imported
        return []
    calls = [node.value for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign)]
    found = [_of_call(call) for call in calls if isinstance(call, ast.Call)]
    return [why for why in found if why is not None]


def _of_call(call: ast.Call) -> Why | None:
    literal = {
        keyword.arg: keyword.value.value
        for keyword in call.keywords
        if isinstance(keyword.value, ast.Constant)
    }
    name, why = literal.get("name"), literal.get("why")
    if not isinstance(name, str) or not isinstance(why, str):
        return None
    return Why(name=name, why=why, default=literal.get("default") is True)


TITLE = "Reasons"
LEAD = "Why the suite measures what it measures, and why each of its parts is there."


@dataclass(frozen=True, kw_only=True)
class Reason:
    """One thing and why it is so."""

    what: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """Reasons that belong together."""

    title: str
    reasons: tuple[Reason, ...]


def _reason(what: str, *sentences: str) -> Reason:
    return Reason(what=what, why=" ".join(sentences))


METRICS = Chapter(
    title="Why these metrics",
    reasons=(
        _reason(
            "Accuracy",
            "The share of test images whose highest score is the right class. It is what",
            "everybody reports for CIFAR-10, and fair there: each class has as many test images",
            "as any other, so accuracy is also the mean recall, and guessing gives 10 %.",
        ),
        _reason(
            "Macro F1",
            "F1 is the harmonic mean of a class's precision and recall; macro F1 is its plain",
            "mean over classes, so that a rare class weighs as much as a common one. On",
            "balanced data it stays near accuracy and falls below it where a net prefers some",
            "classes, as it does early in training. On unbalanced data, such as a folder of",
            "your own, the two part: a net that always answers the largest of 90 % has an",
            "accuracy of 90 % and a macro F1 of 47 % at two classes. There macro F1 is the",
            "figure to read. A mean weighted by the sizes of the classes would hide the small",
            "ones again.",
        ),
        _reason(
            "Precision, recall and the confusion matrix",
            "Of the images that a net calls cats, how many are cats; of the cats, how many it",
            "calls so. One score cannot say which of the two is at fault; the matrix says what",
            "was taken for what.",
        ),
        _reason(
            "Images a second, ceiling and stall",
            "Training throughput, the data included, is what a pipeline can change. The ceiling",
            "is the same net fed one batch that is on the device already; the stall is the",
            "share of the time that the ceiling would not have needed. Without it a fast",
            "pipeline before a slow net looks like a slow pipeline.",
        ),
        _reason(
            "Time to accuracy",
            "Seconds of the training clock until validation accuracy first reached the target.",
            "Throughput alone rewards a net that is quick and learns little; accuracy after a",
            "fixed number of epochs rewards one that learns slowly on the clock. This figure",
            "joins them. It is shown warm, as after the first run of many, and with",
            "compilation, as somebody waits who runs once. It is read at the end of epochs, so",
            "it is no finer than one. A target that was missed is `not reached`: a number in",
            "its place would be made up.",
        ),
    ),
)  # fmt: skip

LOSS = Chapter(
    title="Why cross-entropy",
    reasons=(
        _reason(
            "Cross-entropy",
            "Accuracy has no gradient; a loss has to stand in for it. Cross-entropy is the",
            "negative log-likelihood of the right class and a proper score: in expectation",
            "nothing beats stating the true probabilities. Its gradient at the logits is the",
            "predicted probabilities less the label, which stays large for a confident mistake;",
            "that of a squared error after softmax vanishes there. It takes soft labels as they",
            "are, so mixup and cutmix need no loss of their own. Evaluation uses it without",
            "smoothing, so its curves are on one scale for all recipes.",
        ),
        _reason(
            "Label smoothing",
            "Some recipes give a small part of each label to all classes. It restrains",
            "confidence and often helps a long run; it also moves the training loss, so",
            "training losses of recipes that differ in it are not comparable. It is a setting",
            "of the recipe, 0 unless the recipe says otherwise, and the record holds it.",
        ),
    ),
)  # fmt: skip

RULES = Chapter(
    title="Why these rules",
    reasons=(
        _reason(
            "Validation chooses, test reports",
            "Whatever is chosen by a set looks better on it than it is: the best of many cells",
            "was also the luckiest. Targets, curves and the search for recipes use images held",
            "out of the training set; the test set is looked at once, after the last step.",
        ),
        _reason(
            "Seeds and intervals",
            "Weights, order and draws differ from seed to seed, and so does the score. One",
            "figure cannot show how much. With several seeds a row has mean and standard",
            "deviation, and a difference is claimed only where an interval bears it out; with",
            "too few the suite says so.",
        ),
        _reason(
            "Medians of times",
            "What disturbs a clock makes it slower and never faster, now and then by much: a",
            "mean takes in each disturbance, a median leaves out the rare ones. Throughput is",
            "the median over epochs, with the 5th and 95th percentile beside it; pipelines",
            "alone have quartiles, and ranks that these do not settle are given as a range.",
        ),
        _reason(
            "Failures stay",
            "A cell that crashed, was skipped or missed its target is a row with its reason. A",
            "table of what went well answers another question.",
        ),
    ),
)  # fmt: skip


def chapters() -> tuple[Chapter, ...]:
    """Metrics, loss and rules: what does not depend on the entries."""
    return METRICS, LOSS, RULES


def entries() -> dict[str, list[Why]]:
    """Kind ("architectures", ...) to its entries with their reasons."""
    return {kind: whys(folder) for kind, folder in FOLDERS.items()}


def markdown(said: Sequence[Chapter], found: Mapping[str, Sequence[Why]]) -> str:
    """The whole page as Markdown."""
    lines = [f"# {TITLE}", "", LEAD]
    for chapter in said:
        lines += ["", f"## {chapter.title}"]
        for reason in chapter.reasons:
            lines += ["", f"**{reason.what}.** {reason.why}"]
    for kind, parts in found.items():
        lines += ["", f"## Why these {kind}", "", "In bold: what the default grid uses.", ""]
        for part in parts:
            name = f"**`{part.name}`**" if part.default else f"`{part.name}`"
            lines.append(f"- {name}: {part.why.rstrip('.')}.")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(chapters(), entries()), end="")
