"""What the package's own JSON files hold, checked on reading: a file of another shape is one clear error (no torch).

A digit that changed on disk leaves the shape as it is. The provenance record of the file finds it
(`input_checks.check_inputs`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, RootModel, ValidationError

from wsss.files.errors import ArtefactError
from wsss.files.text_files import read_json
from wsss.runtime.text import short

Share = Annotated[float, Field(ge=0, le=1)]
"""Share of all training pixels."""
REMAKE = "`snakemake FILE --forcerun FILE` remakes a damaged one of a run"


class _Content(BaseModel):
    model_config = ConfigDict(strict=True)


class Epoch(_Content):
    """An entry of a loss curve: number from 1, mean loss."""

    epoch: int
    loss: FiniteFloat


class Figures(_Content):
    """training.json of a classifier, metrics.json of a segmenter or of a round. Any of these may be absent."""

    loss_curve: list[Epoch] = []
    final_loss: FiniteFloat | None = None
    seconds: FiniteFloat | None = None
    peak_memory_mb: FiniteFloat | None = None
    device: str = ""
    claimed_share: Share | None = None
    new_area: Share | None = None
    erased_share: Share | None = None


class StopFigures(Figures):
    """metrics.json of a round, as the stop rule reads it."""

    final_loss: FiniteFloat
    new_area: Share


class Instance(_Content):
    """An instance of an image: class id 1..C, COCO run lengths, confidence."""

    category_id: int = Field(ge=1)
    segmentation: dict[str, Any]
    score: FiniteFloat


class ShardInstances(RootModel[dict[str, list[Instance]]]):
    """instances/{shard}.json: image_id to its instances, best first."""


class ShardProposals(RootModel[dict[str, list[Any]]]):
    """proposals/{kind}/{shard}.json: image_id to COCO run lengths, best first."""


def read_checked(path: Path, kind: type[BaseModel], *, remedy: str = REMAKE) -> Any:
    """Read a JSON file and check that it is of a kind. Members that the kind does not name are left in.

    Args:
        path: The file.
        kind: One of the models above.
        remedy: What to do, for the message.

    Returns:
        What json.load gives.

    Raises:
        ArtefactError: If the file is missing, no JSON, or of another shape: where, what was found and what expected.
    """
    content = read_json(path)
    try:
        kind.model_validate(content)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        place = ".".join(map(str, fault["loc"])) or "the whole"
        found = "nothing" if fault["type"] == "missing" else short(fault["input"])
        expected = fault["msg"].removeprefix("Input should be ")
        raise ArtefactError(f"{path}: {place}: found {found}, expected {expected}; {remedy}") from None
    return content


def read_instances(path: Path, *, num_classes: int) -> dict[str, list[dict[str, Any]]]:
    """Read instances/{shard}.json: image_id to its instances, best first.

    The run lengths are checked when they are unpacked.

    Args:
        path: The file.
        num_classes: C; classes are 1..C.

    Raises:
        ArtefactError: As `read_checked`, or if it names another class.
    """
    content: dict[str, list[dict[str, Any]]] = read_checked(path, ShardInstances)
    for image_id, entries in content.items():
        for k, entry in enumerate(entries):
            if entry["category_id"] > num_classes:
                found = f"found {entry['category_id']}, expected 1..{num_classes}"
                raise ArtefactError(f"{path}: {image_id}.{k}.category_id: {found}; {REMAKE}")
    return content
