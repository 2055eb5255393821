"""Which pipelines hold training up."""

from dataclasses import replace

from bench.record import Record
from bench.report.outcomes import outcomes_by_group
from bench.report.stalls import Stall, sentence, stalls, summary
from tests.made import made_failure, made_record


def of(*records: Record) -> list[Stall]:
    (outcomes,) = outcomes_by_group(records).values()
    return stalls(outcomes)


def waiting(percent: float, **options: object) -> Record:
    return made_record(images_per_s=2000.0 * (1 - percent / 100), **options)  # type: ignore[arg-type]


def test_stalls_of_each_pipeline() -> None:
    kornia, slow = of(
        waiting(5, architecture="vit"),
        waiting(20, architecture="cnn2"),
        waiting(30, architecture="cnn4"),
        waiting(60, pipeline="slow"),
        made_failure(pipeline="broken"),
        replace(waiting(90, architecture="x"), timing_suspect=("busy",)),
    )
    assert (kornia.pipeline, kornia.nets) == ("kornia", ("cnn2", "cnn4", "vit"))
    assert sentence(kornia) == (
        "`kornia` with `cnn2`, `cnn4`, `vit`: training waited 20.0 % of its time in the median of "
        "3 cells, most in `cnn4/sgd/flip_crop/kornia` (30.0 %); 0 bound by the pipeline, 2 by "
        "both, 1 by the model (under 10 %)."
    )
    assert "60.0 % of its time in the only cell, `resnet18/sgd/flip_crop/slow`; 1 bound" in (
        sentence(slow)
    )
    assert summary([kornia, slow]) == (
        "1 of 4 cells bound by the pipeline (it takes 50 % of the training time or more): "
        "`resnet18/sgd/flip_crop/slow`."
    )


def test_a_stall_below_zero_is_told_as_noise() -> None:
    text = summary(of(waiting(-12, architecture="vit"), waiting(5)))
    assert text.startswith("0 of 2 cells bound by the pipeline")
    assert "The lowest stall is -12.0 %" in text


def test_no_ceiling_no_stall() -> None:
    assert of(made_record(record={"throughput": None})) == []
