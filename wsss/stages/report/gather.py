"""What the page says besides images: the numbers of the run, time and memory, settings, supervision, versions (no torch)."""

from __future__ import annotations

import csv
import json
import math
import platform
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from wsss import __version__
from wsss.files.errors import ArtefactError
from wsss.files.index import ImageIndex, ImageRow
from wsss.files.json_files import Figures, read_checked
from wsss.files.metrics import METRIC_COLUMNS
from wsss.files.text_files import open_text
from wsss.runtime.console import revision
from wsss.settings.config_text import describe
from wsss.settings.kinds import saliency_kinds
from wsss.settings.sections import Config

FULL = "full"
"""Stands for a method in the rows of the fully supervised reference."""
WITHOUT_METHOD = ("index_images", "estimate_saliency", "propose_masks", "collect_metrics", "write_report")
"""Stages whose logs do not begin with a method's name."""


class Key(tuple[Any, ...]):
    """(method, variant, stage, round, cycle, split) of one measured artefact."""

    __slots__ = ()

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Key:
        """The key of a plan's stage or of a row of metrics.csv."""
        return cls(
            (
                row["method"],
                row["variant"] or "",
                row["stage"],
                _whole(row["round"]),
                _whole(row["cycle"]),
                row["split"] or "",
            )
        )


@dataclass(frozen=True, kw_only=True)
class Value:
    """One number of metrics.csv: `threshold` None and `name` (class) empty where they do not apply."""

    metric: str
    name: str
    threshold: float | None
    value: float


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """metrics.csv by artefact."""

    values: dict[Key, list[Value]] = field(default_factory=dict)

    def get(self, key: Key, metric: str) -> Value | None:
        """The one number of this name without class; None if there is none."""
        return next((v for v in self.values.get(key, []) if v.metric == metric and not v.name), None)

    def number(self, key: Key, metric: str) -> float | None:
        """As `get`, the value alone."""
        found = self.get(key, metric)
        return None if found is None else found.value

    def curve(self, key: Key, metric: str) -> list[tuple[float, float]]:
        """(threshold, value) of a swept metric, by threshold."""
        return sorted(
            (v.threshold, v.value)
            for v in self.values.get(key, [])
            if v.metric == metric and not v.name and v.threshold is not None
        )

    def by_class(self, key: Key, metric: str) -> dict[str, float]:
        """Class name to value; of a swept metric the values at the best threshold, if they are there."""
        rows = [v for v in self.values.get(key, []) if v.metric == metric and v.name]
        best = self.get(key, "miou_best")
        at_best = [v for v in rows if best is not None and v.threshold == best.threshold]
        return {v.name: v.value for v in (at_best or rows)}

    def main(self, key: Key) -> float | None:
        """The figure an artefact is judged by: best-threshold mIoU of maps, mIoU of masks."""
        return self.number(key, "miou_best" if key[2] in ("scores", "fused") else "miou")


def read_metrics(path: Path, *, class_names: Sequence[str]) -> Metrics:
    """Read metrics.csv; classes given by id are named.

    Raises:
        ArtefactError: If the file is missing or has other columns, or a value is no number.
    """
    values: dict[Key, list[Value]] = {}
    with open_text(path) as file:
        reader = csv.DictReader(file)
        if set(METRIC_COLUMNS) - set(reader.fieldnames or ()):
            raise ArtefactError(
                f"{path}: found columns {reader.fieldnames}, expected {list(METRIC_COLUMNS)}; delete it and rerun collect_metrics"
            )
        for number, row in enumerate(reader, 2):
            try:
                threshold = float(row["threshold"]) if row["threshold"] else None
                value = Value(
                    metric=row["metric"],
                    name=_class_name(row["class"], class_names),
                    threshold=threshold,
                    value=float(row["value"]),
                )
                key = Key.of(row)
            except (ValueError, TypeError, AttributeError):  # a short row has None in it
                raise ArtefactError(
                    f"{path}: row {number}: a number is malformed ({row}); delete it and rerun collect_metrics"
                ) from None
            if math.isfinite(value.value):
                values.setdefault(key, []).append(value)
    return Metrics(values=values)


def _class_name(text: str, names: Sequence[str]) -> str:
    if text in names or not text.isdecimal() or int(text) >= len(names):
        return text
    return names[int(text)]


def _whole(text: Any) -> int | None:
    return None if text in ("", None) else int(float(text))


def followed_method(plan: Mapping[str, Any]) -> str:
    """The method that the gallery follows: the last that has predictions, else the last."""
    segmented = [
        m for m in plan["methods"] if any(s["method"] == m and s["stage"] == "prediction" for s in plan["stages"])
    ]
    return (segmented or plan["methods"])[-1]


# ---------------------------------------------------------------- records, time and memory


def read_records(plan: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The plan's training and round records that exist, each with its file's content under `content`."""
    return [
        {**record, "content": read_checked(Path(record["file"]), Figures)}
        for record in plan["records"]
        if Path(record["file"]).is_file()
    ]


@dataclass(frozen=True, kw_only=True)
class RuleTime:
    """Time and memory of a rule's jobs: seconds in sum and of the longest, peak resident memory in MB."""

    rule: str
    jobs: int
    seconds: float
    longest: float
    peak_mb: float


def read_benchmarks(folder: Path) -> list[RuleTime]:
    """One row a rule from Snakemake's {rule}/*.tsv, the longest first; empty without the folder."""
    out = []
    for rule in sorted(p for p in folder.glob("*") if p.is_dir()):
        jobs = [row for path in sorted(rule.rglob("*.tsv")) for row in _tsv(path)]
        seconds = [_number(j.get("s")) for j in jobs]
        if jobs:
            out.append(
                RuleTime(
                    rule=rule.name,
                    jobs=len(jobs),
                    seconds=sum(seconds),
                    longest=max(seconds),
                    peak_mb=max(_number(j.get("max_rss")) for j in jobs),
                )
            )
    return sorted(out, key=lambda r: -r.seconds)


def _tsv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def _number(text: str | None) -> float:
    """A benchmark's number; jobs too short to be sampled have "-" or NA."""
    try:
        value = float(text or 0)
    except ValueError:
        return 0.0
    return value if math.isfinite(value) else 0.0


def log_warnings(folder: Path, *, methods: Collection[str]) -> list[str]:
    """WARNING lines of the logs of the run and of these methods (others are left by earlier settings), each with the first log that says it, and in how many others it is."""
    found: dict[str, dict[str, None]] = {}
    for path in sorted(
        p for p in folder.rglob("*.log") if p.parent.name in WITHOUT_METHOD or p.stem.split("-")[0] in methods
    ):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if " WARNING " in line:
                found.setdefault(line.split(" WARNING ", 1)[1], {})[str(path.relative_to(folder).with_suffix(""))] = (
                    None
                )
    return [
        f"{next(iter(logs))}{f' and {len(logs) - 1} more' if len(logs) > 1 else ''}: {text}"
        for text, logs in found.items()
    ]


def versions() -> dict[str, str]:
    """Versions of what computed."""
    out = {"wsss": f"{__version__} ({revision()})", "python": platform.python_version()}
    for name in ("torch", "torchvision", "timm", "numpy", "opencv-python-headless", "pydensecrf2", "snakemake"):
        try:
            out[name] = version(name)
        except PackageNotFoundError:
            continue
    return out | {"system": f"{platform.system()} {platform.machine()}"}


# ---------------------------------------------------------------- settings


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One configuration value beside its default."""

    key: str
    value: str
    default: str
    meaning: str

    @property
    def changed(self) -> bool:
        """Whether it differs from the default."""
        return self.value != self.default


def list_settings(config: Mapping[str, Any]) -> list[Setting]:
    """Every value of the (relevant) configuration, those that differ from their default first."""
    out = list(_walk(Config, config, Config().model_dump(mode="json"), ""))
    return sorted(out, key=lambda s: not s.changed)


def _walk(model: type[BaseModel] | None, values: Mapping[str, Any], defaults: Any, prefix: str) -> Iterable[Setting]:
    for key, value in values.items():
        info = model.model_fields.get(key) if model else None
        nested = (
            info.annotation
            if info is not None and isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel)
            else None
        )
        default = defaults.get(key) if isinstance(defaults, Mapping) else None
        if nested is not None and isinstance(value, Mapping):
            yield from _walk(nested, value, default, f"{prefix}{key}.")
        else:
            yield Setting(
                key=prefix + key,
                value=_plain(value),
                default=_plain(default),
                meaning=describe(info) if info is not None else "",
            )


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


# ---------------------------------------------------------------- data and supervision


def data_facts(index: ImageIndex) -> dict[str, Any]:
    """Counts of the data set: images, truth masks and measured images a split, and images of each class."""
    out: dict[str, Any] = {"classes": index.class_names[1:], "splits": {}}
    for split in ("train", "val"):
        rows = index.split(split)
        counts = np.sum([row.labels for row in rows], axis=0, dtype=int) if rows else np.zeros(index.num_classes, int)
        measured = [row for row in rows if has_truth(row)]
        out["splits"][split] = {
            "images": len(rows),
            "measured": len(measured),
            "counts": [int(c) for c in counts],
            "labels": float(counts.sum()) / max(len(rows), 1),
        }
    return out


def has_truth(row: ImageRow) -> bool:
    """Whether the image's truth mask counts in the figures."""
    return row.mask is not None and row.mask.is_file() and row.measured


PROPOSALS = {
    "watershed": ("none", "Mask proposals by hierarchical watershed: unsupervised, nothing was trained for them."),
    "folder": (
        "given",
        "Mask proposals were given; whatever supervision made them went in. MCG and COB, for example, were trained on pixel masks.",
    ),
    "truth": ("truth", "The true instances are the mask proposals: the ceiling of retrieval, no fair result."),
}


def supervision(
    config: Mapping[str, Any], facts: Mapping[str, Any], *, cues: Mapping[str, str], proposals: Mapping[str, str]
) -> list[tuple[str, str, str]]:
    """What taught the run something.

    Args:
        config: The relevant configuration.
        facts: Of the data set, as `data_facts` gives them.
        cues: Kind of saliency by method.
        proposals: Kind of mask proposals by method with instances; "" where it reads none.

    Returns:
        (kind, heading, sentence) each; kinds: labels, weights, none, pixels, given, truth.
    """
    train = facts["splits"]["train"]
    out = [
        (
            "labels",
            "Image-level labels",
            f"Class names of {train['images']} training images ({train['labels']:.2f} an image). No boxes, points or pixels.",
        )
    ]
    out.append(_weights(config))
    out += _by_kind("Saliency", cues, {k: (kind.level, kind.supervision) for k, kind in saliency_kinds().items()})
    out += _by_kind("Proposals", {m: p for m, p in proposals.items() if p}, PROPOSALS, everyone=config["methods"])
    segment = config["segment"]
    if "labels" in (
        segment["psl"]["train_weighting"],
        segment["psl"]["test_weighting"],
    ) or '_weighting": "labels"' in json.dumps(segment["recipes"]):
        out.append(
            (
                "given",
                "Labels at prediction",
                "A variant weights its masks by the images' true labels: the paper's upper bound, no fair result.",
            )
        )
    out.append(
        (
            "truth",
            "Truth masks",
            _truth(
                facts["splits"],
                full=config["evaluate"]["full_supervision"],
                given=[m for m, p in proposals.items() if p == "truth"],
            ),
        )
    )
    if train["measured"] + facts["splits"]["val"]["measured"] and config["evaluate"]["full_supervision"]:
        out.append(
            (
                "pixels",
                "Reference",
                "The rows “full” come from the same segmenter trained with the training set's truth masks, for comparison only.",
            )
        )
    return out


def _by_kind(
    heading: str, users: Mapping[str, str], kinds: Mapping[str, tuple[str, str]], *, everyone: Sequence[str] = ()
) -> list[tuple[str, str, str]]:
    """A sentence a kind, with the methods that use it unless those are all of `everyone`, or of `users`."""
    found = []
    for kind in dict.fromkeys(users.values()):
        level, text = kinds.get(kind, ("given", f"{heading}: {kind}."))
        own = [m for m, k in users.items() if k == kind]
        found.append((level, heading, text if len(own) == len(everyone or users) else f"{', '.join(own)}: {text}"))
    return found


def _truth(splits: Mapping[str, Any], *, full: bool, given: Sequence[str]) -> str:
    """What read truth masks; `given`: methods whose proposals are the true instances."""
    train, val, names = splits["train"]["measured"], splits["val"]["measured"], ", ".join(given)
    if train + val == 0:
        readers = f"but the proposals of {names} are its true instances" if given else "and no stage needed any"
        return f"The data set has none. Nothing on this page is measured against truth, {readers}."
    others = [f"by the proposals of {names} (true instances)"] * bool(given) + ["by the training of “full”"] * full
    readers = (
        " and ".join([", ".join(["Read by evaluation", *others[:-1]]), others[-1]])
        if others
        else "Read by evaluation only"
    )
    spared = "losses but those of “full”" if full else "losses"
    return (
        f"{readers}: {train} training and {val} validation masks. Every mIoU, IoU, precision, recall, accuracy and coverage here used them; {spared}, claimed areas, time and memory did not."
        " miou_best also chooses its threshold by them; no later stage knows that choice."
    )


def _weights(config: Mapping[str, Any]) -> tuple[str, str, str]:
    used = (
        [f"{config['backbone']['name']} ({config['backbone']['weights']})"]
        if config["backbone"]["weights"] != "none"
        else []
    )
    segment = config["segment"]
    if segment["network"] != "deeplabv3plus" and segment["weights"] != "none":
        used.append(f"{segment['network']} ({segment['weights']})")
    if not used:
        return ("none", "Pretraining", "None: every network starts from random weights.")
    return (
        "weights",
        "Pretraining",
        f"ImageNet weights of {', '.join(used)}: class names of ImageNet's photographs, no pixels.",
    )
