"""What a job costs for each of its images, as `wsss plan` estimates it (no torch)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from wsss.settings.sections import TrainingSection
from wsss.workflow.jobs import Job

if TYPE_CHECKING:
    from wsss.workflow.graph import Graph

PREPARED, TRACED = 3, 2
"""Evaluations of a network: once for an image whose peaks are traced back, and for each pass (docs/METHODS.md)."""
PEAKS_AN_IMAGE = 6
RUN_LENGTH_BYTES = 300
"""Of a proposal as run lengths."""
SALIENCY_BYTES = 0.35
RESPONSE_BYTES = 1.6
"""Stored bytes a pixel of saliency, and of a peak's response, with bitshuffle-lz4."""


class Estimate(Protocol):
    """What `wsss plan` knows of a run before it starts. Times are seconds an image on this machine."""

    graph: Graph
    step: float  # one training step of the classifier
    forward: float  # the classifier on a whole image
    segmenter_step: float
    segmenter_forward: float
    crf: float
    saliency: float
    pixels: float  # of an image
    classes: float  # labels of an image
    maps: float  # stored bytes of an image's score maps
    mask: float  # stored bytes of a mask
    drawn: float  # bytes of an image that index_images draws

    def passes(self, training: TrainingSection) -> int:
        """Epochs of a training."""


def _views(scales: list[float], flip: bool) -> float:
    """Evaluations of an image at scale 1 that cost as much as all scales and flips."""
    return sum(s**2 for s in scales) * (1 + flip)


def classifier_seconds(e: Estimate, job: Job) -> float:
    """A training of the classifier."""
    return e.passes(e.graph.settings(job.method).seeds.classifier) * e.step


def scores_seconds(e: Estimate, job: Job) -> float:
    """Score maps at every scale and flip; tracing peaks back costs more evaluations."""
    scores = e.graph.settings(job.method).seeds.scores
    traced = PREPARED + TRACED * e.classes if e.graph.facts(job.method).responds else 1
    return traced * e.forward * _views(scores.scales, scores.flip)


def segmenter_seconds(e: Estimate, job: Job) -> float:
    """A training of the segmenter."""
    return e.passes(e.graph.segment(job.method, job.variant).train) * e.segmenter_step


def predict_seconds(e: Estimate, job: Job) -> float:
    """Predictions at every scale and flip."""
    predict = e.graph.segment(job.method, job.variant).predict
    return e.segmenter_forward * _views(predict.scales, predict.flip)


def responses_seconds(e: Estimate, job: Job) -> float:
    """Peaks traced back, one after the other."""
    scale = e.graph.settings(job.method).instances.response_scale
    return e.forward * scale**2 * (PREPARED + TRACED * PEAKS_AN_IMAGE)


def saliency_bytes(e: Estimate, job: Job) -> float:
    """A saliency map."""
    return e.pixels * SALIENCY_BYTES


def proposal_bytes(e: Estimate, job: Job) -> float:
    """Proposals as run lengths."""
    return float(e.graph.config.instances.proposals.watershed.count * RUN_LENGTH_BYTES)


def response_bytes(e: Estimate, job: Job) -> float:
    """Responses of peaks at full resolution."""
    return e.pixels * PEAKS_AN_IMAGE * RESPONSE_BYTES
