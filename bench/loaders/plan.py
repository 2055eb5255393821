"""Plans what `bench loaders` measures, from its options."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UsageError, check_choice
from bench.machine import environment
from bench.machine.environment import Probe
from bench.record import Reads
from bench.store.groups import group_folder
from bench.store.loaders_record import LoadersRecord
from bench.text import Log
from pipelines import sources
from pipelines.catalog import Unavailable

if TYPE_CHECKING:
    from pipelines.augmentations import Augmentation
    from pipelines.sources.base import Images

# On a CPU a batch of 50,000 takes a per-sample pipeline half a minute and shows nothing new; so do
# large batches of decoded files.
BATCH_SIZES = {"cpu": (128, 512, 2048), "cuda": (128, 512, 2048, 50_000), "files": (128,)}
SERIES_S = 30.0  # a series that took this long gets no more repeats
REPLAYED = " (replayed)"  # after the name of a pipeline whose batches a CUDA graph makes
PATIENCE_S = 900.0  # time limit of a first batch, and of a repeat in addition to its duration


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of `bench loaders`; an empty list stands for all."""

    pipelines: Sequence[str] = ()
    augmentation: str = "flip_crop_cutout"
    batch_sizes: Sequence[int] = ()
    source: str = "auto"
    data_dir: Path | None = None
    device: str = "auto"
    repeats: int = 5
    repeat_s: float = 1.0
    cold: bool = False
    out: Path = Path("results")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A pipeline to measure.

    Args:
        name: Its spelling for `--pipeline`, with `REPLAYED` if a CUDA graph makes the batches as in
            training; else Python launches each operation.
        compiled: Whether it compiles its operations.
        problem: Why it cannot run here; "" if it can.
    """

    name: str
    compiled: bool = False
    reads: Reads = "array"
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is measured.

    Args:
        header: The record without series, environment and bandwidth.
        candidates: The pipelines, including those that cannot run here.
        repeats: Maximum per pipeline and batch size.
        data_dir: Cache folder of the sources.
        folder: The group folder of machine, source and scale.
        notices: Sentences to show before measuring.
        plugins: Path or module of each plugin in use, by its origin as text.
        files: Image files, if a pipeline decodes them.
        cold: Whether these pipelines are also measured with an empty page cache.
        patience_s: See `PATIENCE_S`.
        series_s: See `SERIES_S`; a series always gets enough repeats for a rank.
    """

    header: LoadersRecord
    candidates: Sequence[Candidate]
    batch_sizes: Sequence[int]
    repeats: int
    data_dir: Path
    folder: Path
    notices: Sequence[str]
    plugins: Mapping[str, str] = field(default_factory=dict)
    files: Sequence[Path] = ()
    cold: bool = False
    patience_s: float = PATIENCE_S
    series_s: float = SERIES_S


def make(options: Options, log: Log, probe: Probe | None = None) -> Plan:
    """Resolves device, source and pipelines; measures nothing and writes nothing.

    Args:
        log: Called with lines about downloads.
        probe: A description of the machine, if it was probed before.

    Raises:
        UsageError: An option names something that does not exist or is not available here.
    """
    from bench.grid import registry
    from bench.grid.plan import choose_device
    from pipelines.sources import describe

    check(options)
    probe = probe or environment.probe()
    notices: list[str] = []
    device = choose_device(options.device, probe, [])
    if options.device == "auto" and device == "cpu":
        notices.append(f"No GPU ({probe.cuda_problem}): measuring on the CPU.")
    candidates = choose_candidates(options, device)
    data_dir = options.data_dir or sources.default_data_dir()
    source, problem = sources.resolve(options.source, data_dir, report=log)
    if problem:
        notices.append(
            f"CIFAR-10 is not available here ({problem}). Measuring with the generated source "
            f"{source!r} instead. Use --source cifar10 to insist, --data-dir if you have it."
        )
    data = sources.load(source, data_dir, report=log)
    source, images = data.name, data.train
    candidates = with_reads(candidates, images)
    files = images.files if any(each.reads == "files" for each in candidates) else ()
    if options.cold and not files:
        raise UsageError(
            "--cold is for pipelines that decode image files: add --source folder:PATH --decode"
        )
    notices += describe.notices(data)
    header = LoadersRecord(
        source=source,
        fingerprint=images.fingerprint,
        images=len(images),
        image_size=images.image_size,
        augmentation=options.augmentation,
        device=device,
        scale="full" if device == "cuda" else "cpu",
        precision="bf16" if device == "cuda" and probe.bf16 else "fp32",
        repeat_s=options.repeat_s,
        command=environment.command_line(),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        environment={},
        bandwidth_gb_per_s=0.0,
        series=(),
    )
    machine = environment.machine_name(device)
    places = registry.places(
        pipeline=[each.name.removesuffix(REPLAYED) for each in candidates],
        augmentation=[options.augmentation],
    )
    return Plan(
        header=replace(header, plugins=tuple(places)),
        candidates=candidates,
        batch_sizes=choose_batch_sizes(
            options.batch_sizes, len(images), "files" if files else device
        ),
        repeats=options.repeats,
        data_dir=data_dir,
        folder=group_folder(options.out, machine, source, header.scale),
        notices=notices,
        plugins=places,
        files=files,
        cold=options.cold,
    )


def with_reads(candidates: Sequence[Candidate], images: "Images") -> list[Candidate]:
    """The candidates with what they read; pipelines that decode files can't be replayed."""
    from pipelines import building

    found = []
    for each in candidates:
        name = each.name.removesuffix(REPLAYED)
        reads = "array" if each.problem else building.reads(name, images)
        if reads == "array" or name == each.name:
            found.append(replace(each, reads=reads))
    return found


def check(options: Options) -> None:
    """Raises UsageError for values that are invalid on any machine."""
    check_choice("value of --device", options.device, ("auto", "cpu", "cuda"))
    if options.repeats < 1:
        raise UsageError(f"--repeats is at least 1, got {options.repeats}")
    if not 0 < options.repeat_s < float("inf"):
        raise UsageError(f"--seconds is more than 0, got {options.repeat_s:g}")
    if any(size < 1 for size in options.batch_sizes):
        raise UsageError(f"--batch-size is at least 1, got {min(options.batch_sizes)}")


def choose_batch_sizes(asked: Sequence[int], images: int, usual: str) -> list[int]:
    """The requested batch sizes, or a default of `BATCH_SIZES`, limited to the size of the source.

    Raises:
        UsageError: A requested one is larger than the source.
    """
    if asked and max(asked) > images:
        raise UsageError(f"--batch-size {max(asked)} is more than the source's {images} images")
    return sorted(set(asked or (min(size, images) for size in BATCH_SIZES[usual])))


def choose_candidates(options: Options, device: str) -> list[Candidate]:
    """The requested pipelines, or all variants, in the mode `OWN` only if the policy differs there.

    Raises:
        UsageError: A pipeline lacks the requested mode or option.
        UnknownName: There is no pipeline or augmentation of that name.
    """
    from pipelines import augmentations, building
    from pipelines.base import Unsupported

    policy = augmentations.catalog.get(options.augmentation)
    candidates: dict[str, Candidate] = {}
    for spelling in options.pipelines or every_variant(policy):
        try:
            variant = building.parse(spelling)
        except Unavailable as error:
            candidates[spelling] = Candidate(name=spelling, problem=str(error))
            continue
        except ValueError as error:
            raise UsageError(f"--pipeline: {error}") from error
        try:
            variant.semantics(policy)
            problem = variant.library.problem(variant.mode, device)
        except Unsupported as error:
            problem = str(error)
        compiled = variant.mode == "compiled"
        replays = variant.library.replays and device == "cuda"
        for name in (variant.name, variant.name + REPLAYED) if replays else (variant.name,):
            candidates[name] = Candidate(name=name, compiled=compiled, problem=problem)
    return list(candidates.values())


def every_variant(policy: "Augmentation") -> list[str]:
    """All pipelines in all modes, with their default number of workers and without workers.

    Libraries' own definitions are included only if they differ in the policy.
    """
    from pipelines import building

    libraries = building.catalog.entries.values()
    loaders = {each.name: ("workers=0", "") for each in libraries if "workers" in each.options}
    own = building.own_variants(policy)
    return building.variants(loaders) + own + list(building.catalog.broken)
