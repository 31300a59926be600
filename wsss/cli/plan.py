"""`wsss plan`: jobs, time and disk of a run before it starts.

Jobs are counted from the graph. Time is measured where it matters: a few steps of each heavy stage at the configured sizes on this machine, times the images and epochs;
u2net's time is a constant. Disk is counted from the sizes of the arrays with rough compression factors.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wsss.files.errors import ArtefactError
from wsss.runtime.extras import absent
from wsss.settings.config import load
from wsss.settings.needs import needs
from wsss.settings.sections import Config, TrainingSection
from wsss.stages.dataset.source import source_of
from wsss.workflow.graph import Graph
from wsss.workflow.instance_graph import InstanceGraph

if TYPE_CHECKING:
    import torch

LINE_BYTES = 200
"""Bytes of an image's line in the index."""
COMPRESSION = {"float16": 0.8, "uint8": 0.35, "mask": 0.04}
"""Rough stored bytes over raw bytes with bitshuffle-lz4: score maps, saliency, masks and regions; not measured on photographs."""
PEAKS_AN_IMAGE = 6
PREPARED, TRACED = 3, 2
"""Evaluations of a network that an image whose peaks are traced back costs, and each pass more (docs/METHODS.md), on EfficientNet-Lite0."""
OUTLINE_BYTES = 300
"""Of a proposal as run lengths."""


def plan(overlays: list[Path], *, probe: bool) -> str:
    """The plan as text.

    Args:
        overlays: Configuration files laid over config.yaml.
        probe: Measure a few steps of each heavy stage; otherwise the time column is empty.

    Returns:
        A table: stage, jobs, time, disk; and the totals.

    Raises:
        ConfigError: If the configuration is refused.
        ArtefactError: If the data set cannot be counted.
    """
    config = load(*([Path("config.yaml")] if Path("config.yaml").exists() else []), *overlays)
    graph = Graph(config)
    images = count_images(config)
    jobs = count_jobs(graph)
    seconds = _seconds(graph, images) if probe else {}
    start = _job_start() if probe else 0.0
    disk = _disk(graph, images)
    lines = [
        f"run {config.run}: {images['train']} training and {images['val']} validation images",
        "",
        f"{'stage':20} {'jobs':>5} {'time':>9} {'disk':>9}",
    ]
    for stage, count in jobs.items():
        spent = seconds.get(stage, 0.0) + start * count
        lines.append(f"{stage:20} {count:5d} {_time(spent) if probe else '':>9} {_size(disk.get(stage, 0)):>9}")
    total = sum(seconds.values()) + start * sum(jobs.values())
    lines.append(
        f"{'total':20} {sum(jobs.values()):5d} {_time(total) if probe else '':>9} {_size(sum(disk.values())):>9}"
    )
    lines += (
        [
            "",
            "Time: all jobs one after the other on this machine, from a short probe; results that exist already are not subtracted (see snakemake -n).",
        ]
        if probe
        else []
    )
    if (index := index_of(config)).exists():
        lines += [
            f"Images: as {index} of an earlier run lists them; whether the data set has changed since is seen when the workflow runs."
        ]
    lines += (
        ["Automatic rounds: counted up to their largest number."]
        if any(graph.is_auto(m) for m in config.methods)
        else []
    )
    lines += [f"Install first: {line}" for line in absent(needs(config))]
    return "\n".join(lines)


def index_of(config: Config) -> Path:
    """Where the run's index lies once it is made."""
    return Path(Graph(config).dataset("index.csv"))


def count_images(config: Config) -> dict[str, int]:
    """Images a split, from the run's index if it has one, else from the configuration and the lists; no image is opened."""
    if (index := index_of(config)).exists():
        from wsss.files.index import ImageIndex

        return {split: len(ImageIndex(index).split(split)) for split in ("train", "val")}
    try:
        return source_of(config.dataset).count()
    except OSError as error:
        place = f"dataset.{config.dataset.kind}"
        raise ArtefactError(f"{error.filename}: {error.strerror}; check the paths under {place}") from None


def count_jobs(graph: Graph) -> dict[str, int]:
    """Jobs a stage of a fresh run, owners counted once; automatic rounds at their largest number."""
    config = graph.config
    rounds = {m: graph.max_rounds(m) for m in config.methods}
    pairs = [(m, r) for m in config.methods for r in range(1, rounds[m] + 1)]
    train = len(graph.shards("train"))
    sources = {(graph.round_source(m, r), r) for m, r in pairs}
    networks = {graph.classifier(m, r) for m, r in pairs}
    regions = {(graph.region_source(m, r), r) for m, r in pairs}
    measured = graph.measured(rounds)
    segmenters = [r for r in graph.records(rounds) if r.kind == "segmenter"]
    pseudo = {f for row in measured if row.stage == "pseudo" for f in row.files} | {
        f for m in config.methods for f in graph.final_masks(m, "train")
    }
    scores = sum(row.has_maps for row in measured)
    branch = InstanceGraph(graph)
    proposals, responses = (
        {f for m in branch.methods for f in files(m)} for files in (branch.proposals, branch.responses)
    )
    return {
        "index_images": 1, "estimate_saliency": len(graph.all_saliency()), "train_classifier": len(networks), "extract_scores": len(sources) * train,
        "claim_regions": len(regions) * train, "measure_round": len(regions), "fuse_regions": len(config.methods) * train, "make_seeds": len(config.methods) * train,
        "refine_masks": len(pseudo), "train_segmenter": len(segmenters), "predict_masks": len(segmenters) * (train + len(graph.shards("val"))),
        "export_masks": sum(bool(graph.final_masks(m, s)) for m in config.methods for s in ("train", "val")),
        "propose_masks": len(proposals), "respond_peaks": len(responses), "retrieve_instances": len(branch.methods) * train,
        "export_instances": len(branch.methods), "measure_scores": scores, "measure_masks": len(measured) - scores,
        "measure_instances": len(branch.methods), "collect_metrics": 1, "write_report": 1,
    }  # fmt: skip


# ---------------------------------------------------------------- the probe


def _passes(training: TrainingSection, images: int) -> int:
    return training.passes(max(images // training.batch_size, 1))


def _seconds(graph: Graph, images: dict[str, int]) -> dict[str, float]:
    """Measured seconds a stage, all its jobs together, process starts left out."""
    import torch

    from wsss.training.loop import pick_device

    config = graph.config
    torch.set_num_threads(config.compute.threads)
    device = pick_device(config.compute)
    jobs = count_jobs(graph)
    counts = {s: jobs[s] / len(graph.shards("train")) for s in ("refine_masks", "estimate_saliency", "respond_peaks")}
    sources = {(graph.round_source(m, r), r) for m in config.methods for r in range(1, graph.max_rounds(m) + 1)}
    evaluations = sum(PREPARED + TRACED * _classes(config) if graph.facts(m).responds else 1 for m, _ in sources)
    step, forward = _classifier_times(config, device)
    seg_step, seg_forward = _segmenter_times(config, device)
    c, s = config.seeds.classifier, config.segment.train
    return {
        "train_classifier": jobs["train_classifier"] * _passes(c, images["train"]) * images["train"] * step,
        "extract_scores": evaluations
        * images["train"]
        * forward
        * sum(x**2 for x in config.seeds.scores.scales)
        * (1 + config.seeds.scores.flip),
        "train_segmenter": jobs["train_segmenter"] * _passes(s, images["train"]) * images["train"] * seg_step,
        "predict_masks": jobs["train_segmenter"]
        * sum(images.values())
        * seg_forward
        * sum(x**2 for x in config.segment.predict.scales)
        * (1 + config.segment.predict.flip),
        "refine_masks": counts["refine_masks"] * images["train"] * _crf_time(config),
        "respond_peaks": counts["respond_peaks"]
        * images["train"]
        * forward
        * config.instances.response_scale**2
        * (PREPARED + TRACED * PEAKS_AN_IMAGE),
        "estimate_saliency": counts["estimate_saliency"] * images["train"] * _saliency_time(config),
    }


def _timed(function: Callable[[], object], *, repeats: int = 2) -> float:
    """Best of `repeats` after one warm-up, seconds."""
    function()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return min(times)


def _network_times(
    model: torch.nn.Module, config: Config, device: torch.device, *, crop: int, batch: int
) -> tuple[float, float]:
    """Seconds an image of (forward and backward on a batch of crops, forward on a whole image)."""
    import torch

    model.to(device)
    x = torch.rand(min(batch, 4), 3, crop, crop, device=device)
    whole = torch.rand(1, 3, *_image_size(config), device=device)

    def step() -> None:
        out = model(x)
        torch.autograd.grad(
            (out[0] if isinstance(out, tuple) else out).mean(),
            [p for p in model.parameters() if p.requires_grad],
            allow_unused=True,
        )

    step_time = _timed(step) / len(x)
    model.eval()
    with torch.inference_mode():
        return step_time, _timed(lambda: model(whole))


def _classifier_times(config: Config, device: torch.device) -> tuple[float, float]:
    from wsss.methods import load_method

    backbone = config.backbone.model_copy(update={"weights": "none"})
    model = load_method("cam").build(20, round=1, backbone=backbone, previous=None)
    c = config.seeds.classifier
    return _network_times(model, config, device, crop=c.augment.crop, batch=c.batch_size)


def _segmenter_times(config: Config, device: torch.device) -> tuple[float, float]:
    if not config.segment.methods or not config.segment.variants:
        return 0.0, 0.0
    from wsss.nets.segmenters import build_segmenter

    segment = config.segment
    model = build_segmenter(
        network=segment.network,
        weights="none",
        backbone=config.backbone.model_copy(update={"weights": "none"}),
        num_classes=20,
    )
    return _network_times(model, config, device, crop=segment.train.augment.crop, batch=segment.train.batch_size)


def _classes(config: Config) -> float:
    return source_of(config.dataset).labels_an_image


def _image_size(config: Config) -> tuple[int, int]:
    """A typical image: of its kind of data set, or as VOC's 375x500, or the training size if that is smaller."""
    if (size := source_of(config.dataset).image_size()) is not None:
        return size
    longest = min(500, config.seeds.classifier.augment.resize_max)
    return longest * 3 // 4, longest


def _crf_time(config: Config) -> float:
    from wsss.stages.pseudo.crf import crf_parameters, dense_crf

    if config.pseudo.refine == "none" and config.segment.cycles == 1:
        return 0.0
    draw = np.random.default_rng(0)
    height, width = _image_size(config)
    image = draw.integers(0, 255, (height, width, 3), dtype=np.uint8)
    probabilities = np.full((3, height, width), 1 / 3, np.float32)
    return (
        _timed(lambda: dense_crf(image, probabilities, parameters=crf_parameters(config.pseudo.crf)), repeats=1) / 2
    )  # two processes a job


def _saliency_time(config: Config) -> float:
    if not config.saliency.place:
        return 0.0
    from wsss.stages.saliency.estimator import estimator_of

    estimator = estimator_of(config.saliency)
    image_u8 = np.random.default_rng(0).integers(0, 255, (*_image_size(config), 3), dtype=np.uint8)
    seconds = estimator.seconds
    if seconds is None:
        seconds = _timed(lambda: estimator.of_image(image_u8), repeats=1)
    return seconds / 2  # two processes a job


def _job_start() -> float:
    """Seconds to start one job's process and import what most stages import."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import wsss.cli.stage_commands, cv2, h5py, hdf5plugin"], check=True)
    return time.perf_counter() - began + 1.0


# ---------------------------------------------------------------- disk


def _disk(graph: Graph, images: dict[str, int]) -> dict[str, float]:
    """Bytes a stage."""
    config = graph.config
    height, width = _image_size(config)
    pixels, cells = height * width, height * width / config.backbone.output_stride**2
    jobs, train = count_jobs(graph), len(graph.shards("train"))
    maps, masks = cells * _classes(config) * 2 * COMPRESSION["float16"], pixels * COMPRESSION["mask"]
    n = images["train"]
    return {
        "index_images": sum(images.values()) * (pixels * source_of(config.dataset).written or LINE_BYTES),
        "estimate_saliency": n * pixels * COMPRESSION["uint8"] * len(graph.all_saliency()) / len(graph.shards("train")),
        "extract_scores": jobs["extract_scores"] / train * n * maps,
        "claim_regions": jobs["claim_regions"] / train * n * masks * _classes(config),
        "fuse_regions": jobs["fuse_regions"] / train * n * (maps + masks * _classes(config)),
        "make_seeds": jobs["make_seeds"] / train * n * masks,
        "refine_masks": jobs["refine_masks"] / train * n * masks,
        "predict_masks": jobs["train_segmenter"] * sum(images.values()) * (masks + maps),
        "export_masks": jobs["export_masks"] * n * masks / 2,
        "propose_masks": jobs["propose_masks"] / train * n * config.instances.proposals.watershed.count * OUTLINE_BYTES,
        "respond_peaks": jobs["respond_peaks"] / train * n * pixels * PEAKS_AN_IMAGE * 2 * COMPRESSION["float16"],
    }


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
