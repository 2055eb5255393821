"""From what `bench loaders` was asked for to what it measures; measures and writes nothing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from bench.errors import UsageError
from bench.machine import environment
from bench.machine.environment import Probe
from bench.record import Reads
from bench.store.groups import group_folder
from bench.store.loaders_record import LoadersRecord
from pipelines import sources
from pipelines.catalog import Unavailable, unknown_name

# A batch of 50,000 takes a per-sample pipeline half a minute on a CPU, and tells nothing there.
BATCH_SIZES = {"cpu": (128, 512, 2048), "cuda": (128, 512, 2048, 50_000)}
SERIES_S = 30.0  # of repeats: a series that took as long gets no more of them
PATIENCE_S = 900.0  # for a first batch, or for a repeat beyond the time it was asked to take
Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What `bench loaders` was asked for; empty means: all that there are."""

    pipelines: Sequence[str] = ()
    augmentation: str = "flip_crop_cutout"
    batch_sizes: Sequence[int] = ()
    source: str = "auto"
    data_dir: Path | None = None
    device: str = "auto"
    repeats: int = 5
    repeat_s: float = 1.0
    out: Path = Path("results")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A pipeline to measure.

    Args:
        name: The variant's spelling.
        compiled: Whether it compiles its operations.
        reads: What of the source it reads: its array, or its image files.
        problem: Why it cannot run here; "" when it can.
    """

    name: str
    compiled: bool = False
    reads: Reads = "array"
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is measured.

    Args:
        header: The record that is to be filled with series; its environment is not known yet.
        candidates: The pipelines, those that cannot run included.
        batch_sizes: Ascending.
        repeats: Of each pipeline and batch size, at most.
        data_dir: Where sources are cached.
        folder: The group folder of machine, source and scale.
        notices: What must not be missed.
        plugins: By what each plugin is loaded that is needed, by its origin as text.
        patience_s: Longest wait for a first batch, and for a repeat beyond its own time.
        series_s: Seconds of repeats after which a series that can be ranked gets no more.
    """

    header: LoadersRecord
    candidates: Sequence[Candidate]
    batch_sizes: Sequence[int]
    repeats: int
    data_dir: Path
    folder: Path
    notices: Sequence[str]
    plugins: Mapping[str, str] = field(default_factory=dict)
    patience_s: float = PATIENCE_S
    series_s: float = SERIES_S


def make(options: Options, report: Report, probe: Probe | None = None) -> Plan:
    """Resolves device, source and pipelines; measures nothing and writes nothing.

    Args:
        options: What was asked for.
        report: Gets lines about progress.
        probe: What the device can do, if somebody has tried it.

    Raises:
        UsageError: Something that was asked for does not exist or cannot be had.
    """
    from bench.grid import registry
    from bench.grid.plan import choose_device
    from pipelines import building

    check(options)
    probe = probe or environment.probe()
    notices: list[str] = []
    device = choose_device(options.device, probe, [])
    if options.device == "auto" and device == "cpu":
        notices.append(f"No GPU ({probe.cuda_problem}): measuring on the CPU.")
    candidates = choose_candidates(options, device)
    data_dir = options.data_dir or sources.default_data_dir()
    source, problem = sources.resolve(options.source, data_dir, report=report)
    if problem:
        notices.append(
            f"CIFAR-10 cannot be had here ({problem}). Measuring with the generated source "
            f"{source!r} instead. Use --source cifar10 to insist, --data-dir if you have it."
        )
    images = sources.load(source, data_dir, report=report).train
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
        pipeline=[each.name for each in candidates], augmentation=[options.augmentation]
    )
    return Plan(
        header=replace(header, plugins=tuple(places)),
        candidates=[
            each if each.problem else replace(each, reads=building.reads(each.name, images))
            for each in candidates
        ],
        batch_sizes=choose_batch_sizes(options.batch_sizes, len(images), device),
        repeats=options.repeats,
        data_dir=data_dir,
        folder=group_folder(options.out, machine, source, header.scale),
        notices=notices,
        plugins=places,
    )


def check(options: Options) -> None:
    """Refuses values that can be judged without looking at the machine.

    Raises:
        UsageError: One of them is out of range or unknown.
    """
    devices = ["auto", "cpu", "cuda"]
    if options.device not in devices:
        raise UsageError(unknown_name("value of --device", options.device, devices))
    if options.repeats < 1:
        raise UsageError(f"--repeats is at least 1, got {options.repeats}")
    if not 0 < options.repeat_s < float("inf"):
        raise UsageError(f"--seconds is more than 0, got {options.repeat_s:g}")
    if any(size < 1 for size in options.batch_sizes):
        raise UsageError(f"--batch-size is at least 1, got {min(options.batch_sizes)}")


def choose_batch_sizes(asked: Sequence[int], images: int, device: str) -> list[int]:
    """Those asked for, or the device's usual ones, made to fit the source where too large.

    Raises:
        UsageError: One that was asked for has more images than the source.
    """
    if asked and max(asked) > images:
        raise UsageError(f"--batch-size {max(asked)} is more than the source's {images} images")
    return sorted(set(asked or (min(size, images) for size in BATCH_SIZES[device])))


def choose_candidates(options: Options, device: str) -> list[Candidate]:
    """The pipelines that were asked for, or every variant there is.

    Raises:
        UsageError: A mode or an option that a pipeline does not have.
        UnknownName: No pipeline or augmentation of that name.
    """
    from pipelines import augmentations, building

    policy = augmentations.catalog.get(options.augmentation)
    found: dict[str, Candidate] = {}
    for spelling in options.pipelines or every_variant():
        try:
            variant = building.parse(spelling)
        except Unavailable as error:
            found[spelling] = Candidate(name=spelling, problem=str(error))
            continue
        except ValueError as error:
            raise UsageError(f"--pipeline: {error}") from error
        try:
            variant.library.semantics(policy)
            problem = variant.library.problem(variant.mode, device)
        except building.Unsupported as error:
            problem = str(error)
        compiled = variant.mode == "compiled"
        found[variant.name] = Candidate(name=variant.name, compiled=compiled, problem=problem)
    return list(found.values())


def every_variant() -> list[str]:
    """Every pipeline in each of its modes, with its usual workers and with none."""
    from pipelines import building

    libraries = building.catalog.entries.values()
    loaders = {each.name: ("workers=0", "") for each in libraries if "workers" in each.options}
    return building.variants(loaders) + list(building.catalog.broken)
