"""The numbers that `wsss plan` estimates from: a few steps of each heavy stage, measured on this machine."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from wsss.settings.sections import Config, TrainingSection
from wsss.stages.dataset.source import source_of
from wsss.training.schedule import epochs_of
from wsss.workflow.graph import Graph

if TYPE_CHECKING:
    import torch

MAP_BYTES, MASK_BYTES = 1.6, 0.04
"""Stored bytes of a map's cell (float16) and of a mask's pixel with bitshuffle-lz4; not measured on photographs."""
ROW_BYTES = 200
"""Of an image in the index."""
PROCESSES = 2
"""Of a job that works on images in several processes (saliency, CRF)."""


class Probe:
    """The `Estimate` of a run (wsss/workflow/costs.py). Each time is measured when it is first asked for."""

    def __init__(self, graph: Graph, images: int, *, measured: bool) -> None:
        """Settle what needs no measurement.

        Args:
            graph: The run.
            images: Training images.
            measured: Whether times are asked for. `start` is 0 if not.
        """
        self.graph, self.images = graph, images
        self.start = _job_start() if measured else 0.0
        source, (height, width) = source_of(graph.config.dataset), _image_size(graph.config)
        self.pixels = float(height * width)
        self.classes = source.labels_an_image
        self.maps = self.pixels / graph.config.backbone.output_stride**2 * self.classes * MAP_BYTES
        self.mask = self.pixels * MASK_BYTES
        self.drawn = self.pixels * source.written or ROW_BYTES

    def passes(self, training: TrainingSection) -> int:
        """Epochs of a training."""
        return epochs_of(training, steps=max(self.images // training.batch_size, 1))

    @property
    def step(self) -> float:
        """Seconds of a classifier's training step, for each image of its batch."""
        return self._classifier[0]

    @property
    def forward(self) -> float:
        """Seconds of the classifier on a whole image."""
        return self._classifier[1]

    @property
    def segmenter_step(self) -> float:
        """Seconds of a segmenter's training step, for each image of its batch."""
        return self._segmenter[0]

    @property
    def segmenter_forward(self) -> float:
        """Seconds of the segmenter on a whole image."""
        return self._segmenter[1]

    @cached_property
    def _classifier(self) -> tuple[float, float]:
        from wsss.methods import load_method

        config = self.graph.config
        backbone = config.backbone.model_copy(update={"weights": "none"})
        model = load_method("cam").build(20, round=1, backbone=backbone, previous=None)
        c = config.seeds.classifier
        return _network_times(model, config, crop=c.augment.crop, batch=c.batch_size)

    @cached_property
    def _segmenter(self) -> tuple[float, float]:
        from wsss.nets.segmenters import build_segmenter

        segment, backbone = self.graph.config.segment, self.graph.config.backbone
        backbone = backbone.model_copy(update={"weights": "none"})
        model = build_segmenter(network=segment.network, weights="none", backbone=backbone, num_classes=20)
        train = segment.train
        return _network_times(model, self.graph.config, crop=train.augment.crop, batch=train.batch_size)

    @cached_property
    def crf(self) -> float:
        """Seconds of the dense CRF."""
        from wsss.stages.pseudo.crf import crf_parameters, dense_crf

        config, draw = self.graph.config, np.random.default_rng(0)
        if config.pseudo.refine == "none" and config.segment.cycles == 1:
            return 0.0
        size = _image_size(config)
        image = draw.integers(0, 255, (*size, 3), dtype=np.uint8)
        probabilities, parameters = np.full((3, *size), 1 / 3, np.float32), crf_parameters(config.pseudo.crf)
        return _timed(lambda: dense_crf(image, probabilities, parameters=parameters), repeats=1) / PROCESSES

    @cached_property
    def saliency(self) -> float:
        """Seconds of a saliency map."""
        from wsss.stages.saliency.estimator import estimator_of

        if not self.graph.config.saliency.place:
            return 0.0
        estimator = estimator_of(self.graph.config.saliency)
        image_u8 = np.random.default_rng(0).integers(0, 255, (*_image_size(self.graph.config), 3), dtype=np.uint8)
        seconds = estimator.seconds
        if seconds is None:
            seconds = _timed(lambda: estimator.of_image(image_u8), repeats=1)
        return seconds / PROCESSES


def _image_size(config: Config) -> tuple[int, int]:
    """A typical image, (height, width) in px: its data set's, else VOC's, or the training size if that is smaller."""
    if (size := source_of(config.dataset).image_size()) is not None:
        return size
    longest = min(500, config.seeds.classifier.augment.resize_max)
    return longest * 3 // 4, longest


def _timed(function: Callable[[], object], *, repeats: int = 2) -> float:
    """Best of `repeats` after one warm-up, seconds."""
    function()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return min(times)


def _network_times(model: torch.nn.Module, config: Config, *, crop: int, batch: int) -> tuple[float, float]:
    """Seconds an image of (forward and backward on a batch of crops, forward on a whole image)."""
    import torch

    from wsss.training.loop import pick_device

    torch.set_num_threads(config.compute.threads)
    device = pick_device(config.compute)
    model.to(device)
    x = torch.rand(min(batch, 4), 3, crop, crop, device=device)
    whole = torch.rand(1, 3, *_image_size(config), device=device)

    def step() -> None:
        out = model(x)
        logits = out[0] if isinstance(out, tuple) else out
        moved = [p for p in model.parameters() if p.requires_grad]
        torch.autograd.grad(logits.mean(), moved, allow_unused=True)

    step_time = _timed(step) / len(x)
    model.eval()
    with torch.inference_mode():
        return step_time, _timed(lambda: model(whole))


def _job_start() -> float:
    """Seconds to start one job's process and import what most stages import."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import wsss.cli.stage_commands, cv2, h5py, hdf5plugin"], check=True)
    return time.perf_counter() - began + 1.0
