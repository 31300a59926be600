"""Provenance records: a JSON beside each product that says what made it, from what (no torch).

`{product}.provenance.json` lies beside a stage's `output` and covers every file that the job wrote. It is written by the stage command when the product is whole, and taken away when the
stage begins again: a killed job leaves no record or a right one. What varies between equal runs (date, host, seconds) is held here and never in a product. No rule declares it.
Paths are relative to the working directory; `run` says which of them is the run's folder, so that a run that was moved can still be checked.
"""

from __future__ import annotations

import csv
import datetime
import glob
import hashlib
import json
import platform
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from wsss import __version__
from wsss.files.artefacts import ArtefactError, open_text, read_json, write_json
from wsss.methods import FACTS
from wsss.runtime.console import revision
from wsss.settings.sections import ComputeSection
from wsss.settings.stage_settings import IndexSettings, PlanSettings
from wsss.workflow.digests import code_digest
from wsss.workflow.graph import Graph
from wsss.workflow.listing import given_folder, label_files

FORMAT = 1
SUFFIX = ".provenance.json"
PRODUCTS = {"train_classifier": ("output", "record"), "train_segmenter": ("output", "record")}
"""Parameters of a stage that name its products, the main one first; `output` alone where a stage is not listed. Every other path parameter is an input."""
BESIDE = {
    "index_images": ("classes.csv", "statistics.json", "shards/*.csv"),
    "export_masks": ("{stem}/*.png",),
    "export_instances": ("pictures/*.png",),
    "write_report": ("gallery.jpg",),
}
"""Further products, as patterns in the folder of `output`. Images that index_images draws are not among them: the index holds their digests."""
READ_BESIDE = {"index": ("classes.csv", "statistics.json")}
"""Files that every stage reads beside one of its inputs."""
METHOD_STAGES = ("train_classifier", "extract_scores", "respond_peaks")
"""Stages that run code of a method's own module."""
LIBRARIES = (
    "torch", "torchvision", "timm", "segmentation-models-pytorch", "numpy", "scipy", "numba", "opencv-python-headless", "pillow", "h5py", "hdf5plugin",
    "pydensecrf2", "onnxruntime", "higra", "pycocotools",
)  # fmt: skip
"""Distributions whose version can change results."""


@contextmanager
def recorded(stage: str, folder: str, arguments: Mapping[str, Any]) -> Iterator[dict[str, list[dict[str, Any]]]]:
    """A `with` block around a stage, after which the record of its products lies beside its `output`.

    Inputs and code are digested before the block: one that changes meanwhile no longer fits the record, and `wsss verify` says so.

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
    code, record = stage_code(stage, folder, kind=kind_of(settings)), record_of(output)
    record.unlink(missing_ok=True)
    began = time.monotonic()
    yield inputs
    seconds = round(time.monotonic() - began, 2)
    products = [arguments[n] for n in names] + [
        p
        for pattern in BESIDE.get(stage, ())
        for p in sorted(output.parent.glob(pattern.format(stem=glob.escape(output.stem))))
    ]
    content = {
        "format": FORMAT, "stage": stage, "run": spelt(run_folder(output)), "products": file_states(products), "inputs": inputs,
        "settings": {k: v.model_dump(mode="json") for k, v in settings.items()}, "seed": seed_of(settings), "code": code,
        **machine(settings.get("compute")), "libraries": library_versions(), "python": platform.python_version(), "wsss": __version__, "revision": revision(),
        "made": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"), "host": platform.node(), "seconds": seconds,
    }  # fmt: skip
    write_json(record, {**content, "digest": own_digest(content)})


def record_of(product: Path) -> Path:
    """Where the record of a stage's output lies."""
    return product.with_name(product.name + SUFFIX)


def read_record(path: Path) -> dict[str, Any]:
    """One record.

    Raises:
        ArtefactError: If it is missing, no record, of another format, or was changed after it had been written.
    """
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise ArtefactError(f"{path}: found format {found}, expected {FORMAT}")
    if content.pop("digest", None) != own_digest(content):
        raise ArtefactError(f"{path}: found a record that was changed, expected it as its stage wrote it")
    return content


def find_records(run: Path) -> list[Path]:
    """Every record under a run's folder, by path."""
    return sorted(run.rglob(f"*{SUFFIX}"))


# ---------------------------------------------------------------- files


def input_files(stage: str, arguments: Mapping[str, Any]) -> dict[str, list[Path]]:
    """What a stage reads, by parameter; `settings` has the files that its settings name.

    Args:
        stage: Name of the stage.
        arguments: Its keyword arguments.

    Returns:
        Paths; those that do not exist are left out, for the stage to complain about.
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
    """Files that settings lead to: weights, a data set's list of labels, the records of trainings that are collected."""
    if isinstance(settings, IndexSettings):
        return label_files(settings.dataset)
    if isinstance(settings, PlanSettings):
        return [Path(r["file"]) for r in Graph(settings.config).records(settings.rounds)] if settings.rounds else []
    return [Path(w) for w in _weights(settings.model_dump(mode="json"))]


def given_maps(settings: BaseModel, *, shard: Path | None) -> list[Path]:
    """Saliency maps and proposals that were given in a folder, of the images of a shard."""
    folder = given_folder(settings)
    if folder is None or shard is None or not shard.is_file():
        return []
    with open_text(shard) as file:
        ids = [row.get("image_id") for row in csv.DictReader(file)]
    return [path for i in ids for suffix in (".png", ".json", ".mat") if (path := folder / f"{i}{suffix}").is_file()]


def _weights(values: Mapping[str, Any]) -> Iterator[str]:
    """Every setting `weights`, at any depth."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _weights(value)
        elif key == "weights" and isinstance(value, str):
            yield value


def file_states(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Path, size in bytes and digest of each file, repeated ones once."""
    return [{"path": spelt(p), "size": p.stat().st_size, "digest": file_digest(p)} for p in dict.fromkeys(paths)]


def file_digest(path: Path) -> str:
    """BLAKE2b of a file's bytes, 128 bits as hexadecimal digits: what `b2sum --length=128` prints."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def spelt(path: Path) -> str:
    """A path relative to the working directory if it lies under it, else absolute; links are not followed."""
    absolute, here = path.absolute(), Path.cwd()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute)


def run_folder(output: Path) -> Path:
    """The run that a product belongs to: the nearest folder above it that holds dataset/index.csv, else its own."""
    return next(
        (p for p in output.absolute().parents if (p / "dataset" / "index.csv").is_file()), output.absolute().parent
    )


# ---------------------------------------------------------------- code and machine


def stage_code(stage: str, folder: str, *, kind: str) -> str:
    """Digest of a stage's code, with the method's module where it runs one: what its rule has as `params.code`."""
    methods = [FACTS[kind].module] if stage in METHOD_STAGES and kind in FACTS else []
    return code_digest(f"wsss.stages.{folder}.{stage}", *methods)


def kind_of(settings: Mapping[str, BaseModel]) -> str:
    """The kind of method that a stage's settings name, or ""."""
    return str(getattr(settings.get("settings"), "kind", ""))


def seed_of(settings: Mapping[str, BaseModel]) -> int | None:
    """The seed among a stage's settings, in the keys of its rows or in the configuration; None where it has none."""
    holders = [*settings.values(), *(getattr(v, "config", None) for v in settings.values())]
    return next((s for h in holders if isinstance(s := getattr(h, "seed", None), int)), None)


def machine(compute: BaseModel | None) -> dict[str, Any]:
    """The device that was used, and with `compute` threads and precision, which change the last bits."""
    out: dict[str, Any] = {"device": "cpu", "processor": processor()}
    if isinstance(compute, ComputeSection):
        torch = sys.modules.get("torch")  # a stage with `compute` has imported it
        if torch is not None and compute.device != "cpu" and torch.cuda.is_available():
            out["device"] = f"cuda ({torch.cuda.get_device_name()})"
        out |= {"threads": compute.threads, "precision": compute.precision}
    return out


def processor() -> str:
    """The processor's name, or its architecture where the system does not say more."""
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


def own_digest(content: Mapping[str, Any]) -> str:
    """Digest of a record without the digest itself."""
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()


# ---------------------------------------------------------------- records side by side


def mixtures(records: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, list[str]]]:
    """What differs among the records of a run although one run should have one of it.

    Args:
        records: Output (or whatever names it) to its record.

    Returns:
        Thing ("torch", "device") to value to outputs made so, in the order of `records`; only things with more than one value. Device, processor, threads and precision
        are compared among the stages that compute with torch.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for name, record in records.items():
        kind = record["settings"].get("settings", {}).get("kind", "")
        shared = {
            "wsss": record["wsss"],
            "python": record["python"],
            **record["libraries"],
            f"code of {record['stage']} {kind}".rstrip(): record["code"],
        }
        torch = (
            {k: str(record[k]) for k in ("device", "processor", "threads", "precision")}
            if "compute" in record["settings"]
            else {}
        )
        for what, value in (shared | torch).items():
            found.setdefault(what, {}).setdefault(str(value), []).append(name)
    return {what: values for what, values in found.items() if len(values) > 1}


def stale_inputs(records: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(output, input) of every product that was made from an earlier state of another product, by their records alone: no file is read.

    Args:
        records: Output to its record.
    """
    state = {p["path"]: p["digest"] for record in records.values() for p in record["products"]}
    out = []
    for name, record in records.items():
        for entry in (i for entries in record["inputs"].values() for i in entries):
            if state.get(entry["path"], entry["digest"]) != entry["digest"]:
                out.append((name, entry["path"]))
    return list(dict.fromkeys(out))
