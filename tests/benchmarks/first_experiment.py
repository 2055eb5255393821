"""The first experiment's published accuracies, ours with its nets, and what each change gave.

    python -m tests.benchmarks.first_experiment [FOLDER]

Reads the records of the grids `seed` and `seed_improved` in a group folder, by default the
committed one, and writes `first_experiment.md` beside them. Accuracies are those of the test set.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

from bench.grid.grids import SEED_EPOCHS, SEED_NETS
from bench.record import Record
from bench.store.store import Store
from bench.text import count
from tests.benchmarks.table import ROOT

REFERENCE = ROOT / "results" / "reference" / "amd-epyc-2-cores_cifar10_desk"
NAME = "first_experiment.md"
PUBLISHED = {5: 54.0, 25: 77.34}  # by epochs: the best of five nets, % of the test set


@dataclass(frozen=True, kw_only=True)
class Setting:
    """An optimizer and an augmentation, and the heading of their column."""

    heading: str
    optimizer: str
    augmentation: str


SGD = Setting(heading="SGD", optimizer="sgd", augmentation="none")
ADAM = Setting(heading="Adam", optimizer="adam", augmentation="none")
MUON = Setting(heading="Muon", optimizer="muon", augmentation="none")
AUGMENTED = "flip_crop_cutout"
SGD_AUGMENTED = Setting(heading="SGD, augmented", optimizer="sgd", augmentation=AUGMENTED)
MUON_AUGMENTED = Setting(heading="Muon, augmented", optimizer="muon", augmentation=AUGMENTED)
SETTINGS = (SGD, ADAM, SGD_AUGMENTED, MUON, MUON_AUGMENTED)
CHANGES = (
    ("Adam instead of SGD", SGD, ADAM),
    ("augmentation, smoothed labels", SGD, SGD_AUGMENTED),
    ("Muon instead of SGD, smoothed labels", SGD, MUON),
    ("Muon instead of SGD, augmentation, smoothed labels", SGD, MUON_AUGMENTED),
)
Scores = Mapping[tuple[int, str, Setting], Sequence[float]]  # %, of each seed


def setting_of(record: Record) -> Setting | None:
    """The setting of a successful run of the experiment; None for other runs."""
    cell = record.cell
    if cell.architecture not in SEED_NETS or cell.epochs not in SEED_EPOCHS:
        return None
    if record.metrics is None or cell.pipeline != "native":
        return None
    names = (cell.optimizer, cell.augmentation)
    return next((one for one in SETTINGS if names == (one.optimizer, one.augmentation)), None)


def scores(records: Sequence[Record]) -> Scores:
    """Test accuracies by epochs, net and setting."""
    found: dict[tuple[int, str, Setting], list[float]] = {}
    for record in records:
        setting = setting_of(record)
        if setting is not None and record.metrics is not None:
            key = record.cell.epochs, record.cell.architecture, setting
            found.setdefault(key, []).append(100 * record.metrics.accuracy)
    return found


def accuracy_table(found: Scores, widths: Mapping[str, float]) -> Iterator[str]:
    """A row for each number of epochs and net; the best of each number of epochs is bold."""
    settings = [setting for setting in SETTINGS if any(key[2] == setting for key in found)]
    heads = ["epochs", "net", "published", *(setting.heading for setting in settings)]
    yield f"| {' | '.join(heads)} |"
    yield "|---:|:---|" + "---:|" * (len(heads) - 2)
    for epochs in SEED_EPOCHS:
        best = max((mean(values) for key, values in found.items() if key[0] == epochs), default=0)
        for net in SEED_NETS:
            if net not in widths:
                continue
            cells = [shown(found.get((epochs, net, setting), ()), best) for setting in settings]
            label = f"{net}, width {widths[net]:g}"
            yield f"| {epochs} | {label} | | {' | '.join(cells)} |"
        tops = [top(found, epochs, setting) for setting in settings]
        yield f"| {epochs} | best of the nets | {PUBLISHED[epochs]:.3g} | {' | '.join(tops)} |"


def shown(values: Sequence[float], best: float) -> str:
    if not values:
        return ""
    text = f"{mean(values):.1f}"
    text = f"**{text}**" if mean(values) == best else text
    return f"{text} ± {stdev(values):.1f} ({len(values)})" if len(values) > 1 else text


def top(found: Scores, epochs: int, setting: Setting) -> str:
    means = [mean(v) for (e, _, s), v in found.items() if (e, s) == (epochs, setting)]
    return f"{max(means):.1f}" if means else ""


def changes_table(found: Scores) -> Iterator[str]:
    """The mean difference, over the nets that were trained both ways, and its range."""
    yield f"| change | {' | '.join(f'after {epochs} epochs' for epochs in SEED_EPOCHS)} |"
    yield "|:---|" + "---:|" * len(SEED_EPOCHS)
    for name, before, after in CHANGES:
        cells = [gains(found, epochs, before, after) for epochs in SEED_EPOCHS]
        if any(cells):
            yield f"| {name} | {' | '.join(cells)} |"


def gains(found: Scores, epochs: int, before: Setting, after: Setting) -> str:
    pairs = [
        (found.get((epochs, net, before)), found.get((epochs, net, after))) for net in SEED_NETS
    ]
    differences = [mean(new) - mean(old) for old, new in pairs if old and new]
    if not differences:
        return ""
    low, high, nets = min(differences), max(differences), count(len(differences), "net")
    spread = nets if len(differences) == 1 else f"{low:+.1f} to {high:+.1f}, {nets}"
    return f"{mean(differences):+.1f} ({spread})"


def page(records: Sequence[Record]) -> str:
    kept = [record for record in records if setting_of(record)]
    found, first = scores(kept), kept[0]
    f1 = max((r.metrics.macro_f1 for r in kept if r.metrics and r.cell.epochs == 25), default=0)
    smoothing = {setting_of(r): r.cell.recipe.label_smoothing for r in kept if r.cell.recipe}
    smoothed = [f"{smoothing[one]:g} in “{one.heading}”" for one in SETTINGS if smoothing.get(one)]
    widths = {net: r.cell.width for net in SEED_NETS for r in kept if r.cell.architecture == net}
    lines = [
        "# The first experiment, and better ones in the same epochs",
        "",
        f"Accuracy on the test set of {first.cell.source}, %, after training on all images "
        f"({first.environment['cpu']}, {first.environment['cores']} cores, "
        f"{first.cell.precision}); ± is the standard deviation over the seeds in brackets, "
        "others are one seed. Published: the best of five nets, with SGD or Adam and no "
        f"augmentation; after 25 epochs its macro F1 was 0.776, the highest here is {f1:.3f}. "
        f"Augmented: `{AUGMENTED}`. Label smoothing: {', '.join(smoothed)}, else none.",
        "",
        *accuracy_table(found, widths),
        "",
        "What each change gave, in percentage points: mean over the nets, and the range.",
        "",
        *changes_table(found),
        "",
    ]
    return "\n".join(lines)


def main(folder: str = str(REFERENCE)) -> None:
    (Path(folder) / NAME).write_text(page(Store(Path(folder)).records()))


if __name__ == "__main__":
    main(*sys.argv[1:2])
