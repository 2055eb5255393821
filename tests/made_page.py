"""Contents of report pages for tests, without a results folder and without drawing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.record import Record
from bench.report.figures.style import Picture
from bench.report.page.contents import Content
from bench.store.groups import Group
from tests.made import made_failure, made_record

SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 50"><path d="M0 0L9 9"/></svg>'
HOSTILE = "<img src=x onerror=alert(1)></script>\u2028'\"&`"

RECORDS = (
    made_record(0, architecture="cnn4", accuracy=0.5, time_to_accuracy_s=1.0, images_per_s=300.0),
    made_record(0, architecture="resnet18", accuracy=0.9, time_to_accuracy_s=9.0),
    made_record(1, architecture="resnet18", accuracy=0.8, time_to_accuracy_s=11.0),
    made_record(
        0, architecture="vit_tiny", optimizer="adamw", accuracy=0.3, time_to_accuracy_s=None
    ),
    made_failure(0, architecture="vgg11_bn", status="oom"),
)


def made_picture(name: str = "bars") -> Picture:
    """A picture of one line."""
    return Picture(
        name=name, title=f"title of {name}", caption="what it shows", svg=SVG, png=b"png"
    )


def made_content(records: tuple[Record, ...] = RECORDS, **fields: Any) -> Content:
    """A group's contents with a conclusion and a picture."""
    usual: dict[str, Any] = {
        "group": Group(folder=Path("epyc_shapes_cpu")),
        "records": records,
        "conclusions": {"Best cells": ["`resnet18` is best."]},
        "pictures": [made_picture()],
    }
    return Content(**usual | fields)


def hostile_record() -> Record:
    """A record in which every text tries to become HTML."""
    record = made_failure(0, architecture=HOSTILE, augmentation=HOSTILE, status="crashed")
    environment = {"cpu": HOSTILE, "cores": 2, "torch": HOSTILE, HOSTILE: HOSTILE}
    error = replace(record.error, message=HOSTILE)
    return replace(record, error=error, environment=environment, command=HOSTILE)
