"""Provenance records: a JSON file beside each product that says what made it, and from what (no torch).

`{product}.provenance.json` is beside a stage's `output` and covers every file that the job wrote. The stage command
writes it when the product is whole, and removes it when the stage begins again: a killed job leaves no record or a
right one. What varies between equal runs (date, host, seconds) is here and never in a product. No rule declares it.
Paths are relative to the working directory. `run` names the run's folder, so that a moved run can still be checked.
"""

from __future__ import annotations

import csv
import datetime
import glob
import hashlib
import platform
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from wsss import __version__
from wsss.files.provenance_files import (  # noqa: F401
    FORMAT,
    SUFFIX,
    find_records,
    mixtures,
    own_digest,
    read_record,
    record_of,
    stale_inputs,
)
from wsss.files.run_folder import enclosing_run
from wsss.files.text_files import open_text, write_json
from wsss.methods import FACTS
from wsss.runtime.console import revision
from wsss.settings.kinds import kind_modules
from wsss.settings.sections import ComputeSection
from wsss.settings.stage_settings import IndexSettings, PlanSettings
from wsss.stages.dataset.source import source_of
from wsss.workflow.digests import code_digest
from wsss.workflow.graph import Graph
from wsss.workflow.listing import given_folder

PRODUCTS = {"train_classifier": ("output", "record"), "train_segmenter": ("output", "record")}
"""Parameters of a stage that name its products, the main one first; `output` if a stage is not listed.

Every other path parameter is an input."""
BESIDE = {
    "index_images": ("classes.csv", "statistics.json", "shards/*.csv"),
    "export_masks": ("{stem}/*.png",),
    "export_instances": ("images/*.png",),
    "write_report": ("gallery.jpg",),
}
"""Further products, as patterns in the folder of `output`. Images that index_images draws are left out: the index has
their digests."""
READ_BESIDE = {"index": ("classes.csv", "statistics.json")}
"""Files that every stage reads beside one of its inputs."""
METHOD_STAGES = ("train_classifier", "extract_scores", "respond_peaks")
"""Stages that run code of a method's own module."""
LIBRARIES = (
    *("torch", "torchvision", "timm", "lightning-fabric", "numpy", "scipy", "numba"),
    *("opencv-python-headless", "pillow", "h5py", "hdf5plugin", "pydensecrf2", "onnxruntime", "higra", "pycocotools"),
)
"""Distributions whose versions can change results."""


@contextmanager
def recorded(stage: str, folder: str, arguments: Mapping[str, Any]) -> Iterator[dict[str, list[dict[str, Any]]]]:
    """Write the record of a stage's products beside its `output` when the block ends well.

    Inputs and code are digested before the block. If one changes during it, `wsss verify` reports that it no longer
    fits the record.

    Args:
        stage: Name of the stage.
        folder: Package folder of its module.
        arguments: The stage's keyword arguments: paths, lists of paths, settings.

    Yields:
        The states of its inputs, by parameter.

    Raises:
        OSError: If an input cannot be read or the record cannot be written.
    """
    output: Path = arguments["output"]
    names = PRODUCTS.get(stage, ("output",))
    settings = {k: v for k, v in arguments.items() if isinstance(v, BaseModel)}
    inputs = {k: file_states(v) for k, v in input_files(stage, arguments).items()}
    modules = [m for v in settings.values() for m in kind_modules(v.model_dump(mode="json"))]
    code, record = stage_code(stage, folder, kind=kind_of(settings), modules=modules), record_of(output)
    record.unlink(missing_ok=True)
    began = time.monotonic()
    yield inputs
    seconds = round(time.monotonic() - began, 2)
    patterns = [pattern.format(stem=glob.escape(output.stem)) for pattern in BESIDE.get(stage, ())]
    beside = [p for pattern in patterns for p in sorted(output.parent.glob(pattern))]
    content = {
        "format": FORMAT,
        "stage": stage,
        "run": spelt(enclosing_run(output) or output.absolute().parent),
        "products": file_states([*(arguments[n] for n in names), *beside]),
        "inputs": inputs,
        "settings": {k: v.model_dump(mode="json") for k, v in settings.items()},
        "seed": seed_of(settings),
        "code": code,
        **machine(settings.get("compute")),
        "libraries": library_versions(),
        "python": platform.python_version(),
        "wsss": __version__,
        "revision": revision(),
        "made": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        "host": platform.node(),
        "seconds": seconds,
    }
    write_json(record, {**content, "digest": own_digest(content)})


# ---------------------------------------------------------------- files


def input_files(stage: str, arguments: Mapping[str, Any]) -> dict[str, list[Path]]:
    """What a stage reads, by parameter; `settings` has the files that its settings name.

    Args:
        stage: Name of the stage.
        arguments: Its keyword arguments.

    Returns:
        Paths. Those that do not exist are left out: the stage reports them.
    """
    products = PRODUCTS.get(stage, ("output",))
    found: dict[str, list[Path]] = {}
    for name, value in arguments.items():
        paths = [value] if isinstance(value, Path) else value if isinstance(value, list) else []
        if name not in products and paths:
            found[name] = [p for path in paths for p in (path, *(path.parent / n for n in READ_BESIDE.get(name, ())))]
    shard = arguments.get("shard")
    found["settings"] = [
        p
        for v in arguments.values()
        if isinstance(v, BaseModel)
        for p in (*named_files(v), *given_maps(v, shard=shard))
    ]
    return {name: kept for name, paths in found.items() if (kept := [p for p in paths if p.is_file()])}


def named_files(settings: BaseModel) -> list[Path]:
    """Files that settings name: weights, a data set's list of labels, the records of trainings that are collected."""
    if isinstance(settings, IndexSettings):
        return source_of(settings.dataset).labels()
    if isinstance(settings, PlanSettings):
        return [Path(r.file) for r in Graph(settings.config).records(settings.rounds)] if settings.rounds else []
    return [Path(w) for w in _weights(settings.model_dump(mode="json"))]


def given_maps(settings: BaseModel, *, shard: Path | None) -> list[Path]:
    """The files of a given folder of saliency maps or proposals, for the images of a shard."""
    folder = given_folder(settings)
    if folder is None or shard is None or not shard.is_file():
        return []
    with open_text(shard) as file:
        ids = [row.get("image_id") for row in csv.DictReader(file)]
    return [path for i in ids for suffix in (".png", ".json", ".mat") if (path := folder / f"{i}{suffix}").is_file()]


def _weights(values: Mapping[str, Any]) -> Iterator[str]:
    """Every setting named `weights`, at any depth."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _weights(value)
        elif key == "weights" and isinstance(value, str):
            yield value


def file_states(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Path, size in bytes and digest of each file; a repeated file once."""
    return [{"path": spelt(p), "size": p.stat().st_size, "digest": file_digest(p)} for p in dict.fromkeys(paths)]


def file_digest(path: Path) -> str:
    """BLAKE2b digest of a file's bytes, 128 bits as hexadecimal digits, as `b2sum --length=128` prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def spelt(path: Path) -> str:
    """A path relative to the working directory if it is below it, else absolute; links are not followed."""
    absolute, here = path.absolute(), Path.cwd()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute)


# ---------------------------------------------------------------- code and machine


def stage_code(stage: str, folder: str, *, kind: str, modules: Sequence[str] = ()) -> str:
    """Digest of a stage's code: what its rule has as `params.code`.

    Args:
        stage: Name of the stage.
        folder: Package folder of its module.
        kind: Kind of its method, if it runs one.
        modules: Other modules that it imports by name (`kind_modules`).
    """
    methods = [FACTS[kind].module] if stage in METHOD_STAGES and kind in FACTS else []
    return code_digest(f"wsss.stages.{folder}.{stage}", *methods, *modules)


def kind_of(settings: Mapping[str, BaseModel]) -> str:
    """The kind of method that a stage's settings name, or ""."""
    return str(getattr(settings.get("settings"), "kind", ""))


def seed_of(settings: Mapping[str, BaseModel]) -> int | None:
    """The seed in a stage's settings, in the keys of its rows or in the configuration; None: it has none."""
    holders = [*settings.values(), *(getattr(v, "config", None) for v in settings.values())]
    return next((s for h in holders if isinstance(s := getattr(h, "seed", None), int)), None)


def machine(compute: BaseModel | None) -> dict[str, Any]:
    """The device that was used; with `compute` also threads and precision, which change the last bits."""
    out: dict[str, Any] = {"device": "cpu", "processor": processor()}
    if isinstance(compute, ComputeSection):
        torch = sys.modules.get("torch")  # a stage with `compute` has imported it
        if torch is not None and compute.device != "cpu" and torch.cuda.is_available():
            out["device"] = f"cuda ({torch.cuda.get_device_name()})"
        out |= {"threads": compute.threads, "precision": compute.precision}
    return out


def processor() -> str:
    """The processor's name, or its architecture if the system does not name it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def library_versions() -> dict[str, str]:
    """Installed versions of `LIBRARIES`."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
