"""`wsss plan`: jobs, time and disk of a run before it starts.

The jobs follow from the graph. What a job costs for each of its images is in the stage table. A short probe measures
the times that these costs are made of (wsss/cli/probe.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from wsss.cli.probe import Probe
from wsss.files.errors import ArtefactError
from wsss.provenance.catalogue import jobs
from wsss.runtime.extras import absent
from wsss.settings.config import load
from wsss.settings.needs import needs
from wsss.settings.sections import Config
from wsss.stages.dataset.source import source_of
from wsss.workflow.graph import Graph
from wsss.workflow.jobs import Job
from wsss.workflow.stages import STAGES


def plan(overlays: list[Path], *, probe: bool) -> str:
    """The plan as text.

    Args:
        overlays: Configuration files laid over config.yaml.
        probe: Measure a few steps of each heavy stage. Otherwise the time column is empty.

    Returns:
        A table: stage, jobs, time, disk; and the totals.

    Raises:
        ConfigError: If the configuration is refused.
        ArtefactError: If the data set cannot be counted.
    """
    config = load(*([Path("config.yaml")] if Path("config.yaml").exists() else []), *overlays)
    graph, images = Graph(config), count_images(config)
    found = planned_jobs(graph)
    counts = {stage: len(listed) for stage, listed in found.items() if listed}
    estimate = Probe(graph, images["train"], measured=probe)
    seconds = _costs(found, estimate, images, what="seconds") if probe else {}
    disk = _costs(found, estimate, images, what="bytes")
    spent = {stage: seconds.get(stage, 0.0) + estimate.start * count for stage, count in counts.items()}
    lines = [
        f"run {config.run}: {images['train']} training and {images['val']} validation images",
        "",
        f"{'stage':20} {'jobs':>5} {'time':>9} {'disk':>9}",
        *(_line(s, n, spent[s] if probe else None, disk.get(s, 0)) for s, n in counts.items()),
        _line("total", sum(counts.values()), sum(spent.values()) if probe else None, sum(disk.values())),
        *_remarks(graph, probe=probe),
    ]
    return "\n".join(lines)


def planned_jobs(graph: Graph) -> dict[str, list[Job]]:
    """Jobs a stage of a fresh run; automatic rounds count up to their largest number."""
    found: dict[str, list[Job]] = {stage: [] for stage in STAGES}
    for _, stage, job in jobs(graph, {m: graph.max_rounds(m) for m in graph.config.methods}):
        found[stage].append(job)
    return found


def _remarks(graph: Graph, *, probe: bool) -> list[str]:
    """What the reader must know of the numbers."""
    out = []
    if probe:
        out += ["", "Time: all jobs one after the other on this machine, from a short probe."]
        out += ["Results that exist already are not subtracted: see snakemake -n."]
    if (index := index_of(graph.config)).exists():
        out += [f"Images: as {index} of an earlier run lists them. The workflow sees whether the data set has changed."]
    if any(graph.is_auto(m) for m in graph.config.methods):
        out += ["Automatic rounds: counted up to their largest number."]
    out += [f"Install first: {line}" for line in absent(needs(graph.config))]
    return out


def index_of(config: Config) -> Path:
    """Path of the run's index."""
    return Path(Graph(config).dataset("index.csv"))


def count_images(config: Config) -> dict[str, int]:
    """Images a split: from the run's index if it has one, else from the lists. No image is opened."""
    if (index := index_of(config)).exists():
        from wsss.files.index import ImageIndex

        return {split: len(ImageIndex(index).split(split)) for split in ("train", "val")}
    try:
        return source_of(config.dataset).count()
    except OSError as error:
        place = f"dataset.{config.dataset.kind}"
        raise ArtefactError(f"{error.filename}: {error.strerror}; check the paths under {place}") from None


# ---------------------------------------------------------------- costs


def _costs(
    found: Mapping[str, list[Job]], estimate: Probe, images: Mapping[str, int], *, what: str
) -> dict[str, float]:
    """Seconds or bytes of all jobs of a stage, for each stage that has such a cost."""
    out = {}
    for name, listed in found.items():
        cost = getattr(STAGES[name], what)
        if cost is not None:
            out[name] = sum(cost(estimate, job) * _handled(name, job, estimate.graph, images) for job in listed)
    return out


def _handled(stage: str, job: Job, graph: Graph, images: Mapping[str, int]) -> float:
    """Images that a job handles: those of its shard or split; the index has all, a training those of train."""
    if stage == "index_images":
        return sum(images.values())
    split = job.split or job.shard.partition("-")[0] or "train"
    return images[split] / (len(graph.shards(split)) if job.shard else 1)


def _line(stage: str, count: int, seconds: float | None, size: float) -> str:
    return f"{stage:20} {count:5d} {'' if seconds is None else _time(seconds):>9} {_size(size):>9}"


def _time(seconds: float) -> str:
    return (
        f"{seconds / 3600:.1f} h"
        if seconds > 5400
        else f"{seconds / 60:.1f} min"
        if seconds > 90
        else f"{seconds:.0f} s"
    )


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count > 1e9 else f"{count / 1e6:.1f} MB" if count > 1e5 else ""
