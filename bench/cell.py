"""A cell: one point of a grid, with everything that can change the outcome of a run.

`FIELDS` defines how the suite treats each field of `Cell`. Tables, figures, comparisons,
TensorBoard, `--set` and the options of `bench run` all read it.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any, Literal

import msgspec

from bench.recipe import Recipe

Scale = Literal["full", "desk", "cpu"]
Protocol = Literal["validation", "speedrun"]
Precision = Literal["fp32", "bf16"]
CompileMode = Literal["default", "max-autotune"]
Version = int | str
EVAL_VIEWS = (1, 2, 6)
_DECODES = re.compile(r"\[(?:[^\[\]]*,)?decode(?:,[^\[\]]*)?\]$")
OF = " of "  # between an entry's version and its origin


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One point of a grid.

    Add new fields at the end, with a default and a line in `FIELDS`. A default is not part of a
    run's id, so that old records keep theirs.

    Args:
        pipeline: Canonical spelling: "kornia[compiled]".
        source: "cifar10", "cifar100", "shapes", "folder:PATH" or "npz:PATH".
        scale: Size class of the cell; a table never mixes two.
        batch_size: Images per step; never changed automatically.
        train_images: Maximum number of training images, a stratified subset; None for all.
        validation_images: The same for validation images.
        test_images: The same for test images.
        precision: "bf16" is automatic mixed precision.
        compile: Whether the net runs under torch.compile.
        target_accuracy: Validation accuracy that time to accuracy refers to.
        protocol: "validation" holds out a part of the training set; "speedrun" trains on all of
            it and evaluates the test set once at the end, as the speed records do.
        eval_views: Averaged views per test image: 1 (unchanged), 2 (and mirrored) or 6 (and both
            shifted by a pixel up-left and down-right, which get half of the weight).
        recipe: Settings of the optimizer; None for its defaults, as in old records.
        compile_mode: "max-autotune" lets the compiler time several kernels for each operation on a
            GPU, which takes minutes for each net.
    """

    architecture: str
    optimizer: str
    augmentation: str
    pipeline: str
    source: str = "cifar10"
    scale: Scale = "full"
    device: str = "cuda"
    epochs: int
    batch_size: int
    width: float = 1.0
    train_images: int | None = None
    validation_images: int | None = None
    test_images: int | None = None
    precision: Precision = "fp32"
    compile: bool = False
    target_accuracy: float = 0.9
    protocol: Protocol = "validation"
    eval_views: int = 1
    recipe: Recipe | None = None
    compile_mode: CompileMode = "default"

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1 or not 0 < self.width <= 16:
            raise ValueError(
                f"a cell needs epochs >= 1, batch_size >= 1 and 0 < width <= 16, "
                f"got {self.epochs}, {self.batch_size} and {self.width}"
            )
        if not 0 < self.target_accuracy <= 1:
            raise ValueError(f"target_accuracy lies in (0, 1], got {self.target_accuracy}")
        if self.eval_views not in EVAL_VIEWS:
            raise ValueError(f"eval_views is one of {EVAL_VIEWS}, got {self.eval_views}")
        if self.recipe is not None and self.recipe.weights == "bf16" != self.precision:
            raise ValueError("weights in bf16 need --precision bf16")
        for name in ("width", "target_accuracy"):  # 1 and 1.0 are equal cells: one id for both
            object.__setattr__(self, name, float(getattr(self, name)))

    @property
    def holds_out(self) -> bool:
        """Whether there are validation images, which a target accuracy needs."""
        return self.protocol == "validation"

    @property
    def identity(self) -> "Cell":
        """The cell without its recipe's origin, which does not affect the outcome."""
        if self.recipe is None:
            return self
        return replace(self, recipe=replace(self.recipe, origin=""))

    def without(self, *names: str) -> "Cell":
        """The cell with these fields at a neutral value, to group cells that differ in them."""
        return replace(self, **{name: _NEUTRAL[name] for name in names})

    def labels(self) -> dict[str, str]:
        """The labelled fields as text: "16 epochs"; "" for a target without validation images."""
        texts = {n: info.text(getattr(self, n)) for n, info in FIELDS.items() if info.label}
        if self.epochs == 1:
            texts["epochs"] = "1 epoch"
        if not self.holds_out:
            texts["target_accuracy"] = ""
        return texts

    @property
    def name(self) -> str:
        """The name that -k matches: "resnet18/sgd/flip_crop/kornia"."""
        return f"{self.architecture}/{self.optimizer}/{self.augmentation}/{self.pipeline}"

    @property
    def model_key(self) -> str:
        """Cells with equal keys share a compiled model."""
        if not self.compile:
            return ""
        net = (self.architecture, self.width, self.batch_size, self.precision, self.source)
        mode = () if self.compile_mode == "default" else (self.compile_mode,)
        return "/".join(map(str, (*net, self.device, *mode)))


Role = Literal["axis", "condition", "budget", "net", "recipe"]


@dataclass(frozen=True, kw_only=True)
class FieldInfo:
    """How the suite treats a field of the cell.

    Args:
        role: Which cells that differ in the field may be combined:
            "axis": all; grids cross it, and means are taken over it;
            "condition": none, neither in a mean nor in a figure;
            "budget": in a figure, if they have different names, but not in a mean;
            "net": in figures and means, as the value belongs to the net;
            "recipe": as "net", and also when two nets or optimizers are compared.
        label: Format string of the displayed value; "" if it is shown in another way.
        title: Position in the title of a table; 0 to leave it out.
        quiet: Whether titles and descriptions leave out the default value.
        hparam: Whether TensorBoard and the HTML page list it among the settings of a run.
        settable: Type of the value that `--set` accepts; None if it cannot be set.
        option: The attribute of `RunOptions` that sets it in every cell of a grid.
    """

    role: Role
    label: str = ""
    title: int = 0
    quiet: bool = False
    hparam: bool = True
    settable: type | None = None
    option: str = ""

    def text(self, value: object) -> str:
        """A value with its label: "16 epochs", "compile off"."""
        return self.label.format(value if isinstance(value, float) else plain_text(value))


FIELDS: dict[str, FieldInfo] = {
    "architecture": FieldInfo(role="axis"),
    "optimizer": FieldInfo(role="axis"),
    "augmentation": FieldInfo(role="axis"),
    "pipeline": FieldInfo(role="axis"),
    "source": FieldInfo(role="condition", label="{}", title=2),
    "scale": FieldInfo(role="condition", label="{} scale", title=1),
    "device": FieldInfo(role="condition", label="{}"),
    "epochs": FieldInfo(role="budget", label="{} epochs", title=4, option="epochs"),
    "batch_size": FieldInfo(role="recipe", label="batch {}", settable=int),
    "width": FieldInfo(role="net", label="width {:g}", settable=float),
    "train_images": FieldInfo(role="budget", label="{} images", hparam=False),
    "validation_images": FieldInfo(role="budget", label="{} validation images", hparam=False),
    "test_images": FieldInfo(role="budget", label="{} test images", hparam=False),
    "precision": FieldInfo(role="budget", label="{}", title=5, option="precision"),
    "compile": FieldInfo(role="budget", label="compile {}", title=6, option="compile"),
    "target_accuracy": FieldInfo(
        role="condition", label="target {:.1%} validation accuracy", title=3, option="target"
    ),
    "protocol": FieldInfo(role="condition", label="{} protocol", title=7),
    "eval_views": FieldInfo(
        role="condition",
        label="{} views of each image",
        title=8,
        quiet=True,
        hparam=False,
        settable=int,
    ),
    "recipe": FieldInfo(role="recipe", hparam=False),
    "compile_mode": FieldInfo(
        role="budget", label="{} kernels", title=9, quiet=True, hparam=False, option="compile_mode"
    ),
}
# Number of fields in the first records; `Run.id` leaves out later ones at their default.
FIRST_CELL_FIELDS = 19
FIRST_RECIPE_FIELDS = 11
_DEFAULTS = {one.name: one.default for one in fields(Cell) if one.default is not MISSING}
_NEUTRAL = {**dict.fromkeys(FIELDS, ""), "epochs": 1, "batch_size": 1, **_DEFAULTS}


def fields_of(*roles: Role) -> tuple[str, ...]:
    """Names of the cell's fields that have one of these roles."""
    return tuple(name for name, info in FIELDS.items() if info.role in roles)


def plain_text(value: object) -> str:
    """The value of a field without a label: "on", "all", "0.5"."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if value is None:
        return "all"
    return f"{value:g}" if isinstance(value, float) else str(value)


def is_default(name: str, value: object) -> bool:
    """Whether a field of a cell has its default value."""
    return name in _DEFAULTS and bool(_DEFAULTS[name] == value)


AXES = fields_of("axis")
IMAGE_LIMITS = ("train_images", "validation_images", "test_images")
HPARAMS = tuple(name for name, info in FIELDS.items() if info.hparam)


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One cell with one seed: the unit that is trained and recorded.

    Args:
        versions: Entry versions by axis. For a plugin's entry, with the plugin's name and digest:
            "1 of mine.py 0123456789abcdef".
        fingerprint: Identifies the source's images.
    """

    cell: Cell
    seed: int
    versions: dict[str, Version] = field(default_factory=dict)
    fingerprint: str = ""

    @property
    def id(self) -> str:
        """16 hexadecimal digits over every field that can change the outcome.

        Fields added after the first records are left out at their default, so that old records
        and new runs of the same cell have the same id.
        """
        plain = msgspec.to_builtins(replace(self, cell=self.cell.identity), order="deterministic")
        plain["cell"] = cell = _without_new_defaults(self.cell, plain["cell"])
        if self.cell.recipe is not None:
            cell["recipe"] = _without_new_defaults(self.cell.recipe, cell["recipe"])
        canonical = msgspec.json.encode(plain)
        return hashlib.sha256(canonical).hexdigest()[:16]

    @property
    def result_id(self) -> str:
        """As `id`, but the same for the same images in another place or form."""
        cell = replace(self.cell, source=without_place(self.cell.source))
        return replace(self, cell=cell).id

    @property
    def plugins(self) -> tuple[str, ...]:
        """Origins of the entries from plugins: "mine.py 0123456789abcdef"."""
        return plugins_of(self.versions)

    @property
    def worker_key(self) -> tuple[str, ...]:
        """Runs with equal keys share a worker; plugins are imported only where needed."""
        return (self.cell.model_key, *self.plugins)

    @property
    def name(self) -> str:
        """The cell's name with the seed."""
        return f"{self.cell.name}/seed{self.seed}"


def decodes(source: str) -> bool:
    """Whether a source's image files are decoded in each epoch: "folder:PATH[decode]"."""
    return bool(_DECODES.search(source))


def without_place(source: str) -> str:
    """A source without the place of its files, as the images' fingerprint identifies them."""
    if ":" not in source:
        return source
    return "files[decode]" if decodes(source) else "files"


def distinct_conditions(kinds: Iterable[tuple[str, str, str]]) -> list[str]:
    """The different ones of (source, fingerprint, scale) as text: "shapes at cpu scale".

    A group must not mix several. Sources in files are the same if they have, or once had, the same
    images.
    """
    groups: list[set[object]] = []
    for source, fingerprint, scale in kinds:
        alike: set[object] = {
            f"{source} at {scale} scale",
            (without_place(source), fingerprint, scale),
        }
        joined = alike.union(*(group for group in groups if group & alike))
        groups = [group for group in groups if not group & alike] + [joined]
    return sorted(min(text for text in group if isinstance(text, str)) for group in groups)


def version_of(number: int, origin: str) -> str:
    """The version of a plugin's entry."""
    return f"{number}{OF}{origin}"


def number_of(version: Version) -> str:
    """The number in a version, as text, since a record may contain anything."""
    return str(version).partition(OF)[0]


def plugins_of(versions: Mapping[str, Version]) -> tuple[str, ...]:
    """The origins of the plugins' entries among these versions."""
    texts = (version for version in versions.values() if isinstance(version, str))
    return tuple(sorted({text.partition(OF)[2] for text in texts}))


def _without_new_defaults(entry: Cell | Recipe, plain: dict[str, Any]) -> dict[str, Any]:
    """`plain` without fields at their default that the first records did not have."""
    first = FIRST_CELL_FIELDS if isinstance(entry, Cell) else FIRST_RECIPE_FIELDS
    new = {one.name for one in fields(entry)[first:] if getattr(entry, one.name) == one.default}
    return {name: value for name, value in plain.items() if name not in new}
