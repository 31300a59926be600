"""The settings that each stage is given: exactly the keys that it reads (no torch).

One function a stage: from the graph and a job's wildcards to a model of wsss/settings/stage_settings.py. `Graph.stage`
then puts the defaults in place of keys that the stage's own choices leave unread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsss.settings import stage_settings as models
from wsss.settings.sections import Section
from wsss.workflow.jobs import Job
from wsss.workflow.rows import FULL_SUPERVISION

if TYPE_CHECKING:
    from wsss.workflow.graph import Graph


def index_images(graph: Graph, job: Job) -> Section:
    """The data set and the shards."""
    config = graph.config
    return models.IndexSettings(dataset=config.dataset, shards=config.compute.shards)


def estimate_saliency(graph: Graph, job: Job) -> Section:
    """The saliency section, for the kind that the path names."""
    saliency = graph.config.saliency
    return models.SaliencySettings(saliency=saliency.model_copy(update={"kind": job.cue or saliency.kind}))


def train_classifier(graph: Graph, job: Job) -> Section:
    """The round's backbone, training and the method's own keys."""
    c = graph.settings(job.method)
    return models.ClassifierSettings(
        kind=graph.round_kind(job.method, job.round),
        round=job.round,
        seed=c.seed,
        backbone=c.backbone,
        classifier=c.seeds.classifier,
        options=graph.options(job.method, job.round, stage="train_classifier"),
    )


def extract_scores(graph: Graph, job: Job) -> Section:
    """Scales and flips, and what of the method's own keys score maps read."""
    c = graph.settings(job.method)
    return models.ScoresSettings(
        kind=graph.round_kind(job.method, job.round),
        round=job.round,
        backbone=c.backbone,
        scores=c.seeds.scores,
        options=graph.options(job.method, job.round, stage="extract_scores"),
    )


def claim_regions(graph: Graph, job: Job) -> Section:
    """The claim section."""
    return models.ClaimSettings(claim=graph.settings(job.method).seeds.claim)


def fuse_regions(graph: Graph, job: Job) -> Section:
    """How the method's rounds combine."""
    return models.FuseSettings(kind=graph.kind(job.method), fuse=graph.settings(job.method).seeds.fuse)


def make_seeds(graph: Graph, job: Job) -> Section:
    """The section of seed masks."""
    return models.SeedMaskSettings(seed=graph.settings(job.method).pseudo.seed)


def refine_masks(graph: Graph, job: Job) -> Section:
    """The refinement; masks of later cycles always have the CRF."""
    pseudo = graph.settings(job.method).pseudo
    return models.RefineSettings(refine=pseudo.refine if job.cycle == 0 else "crf", crf=pseudo.crf)


def train_segmenter(graph: Graph, job: Job) -> Section:
    """The variant's network and training."""
    c, s = graph.settings(job.method), graph.segment(job.method, job.variant)
    return models.SegmenterSettings(
        seed=c.seed,
        cycle=job.cycle,
        full_supervision=job.method == FULL_SUPERVISION,
        network=s.network,
        weights=s.weights,
        start=s.start,
        backbone=c.backbone,
        train=s.train,
        psl=s.psl,
    )


def predict_masks(graph: Graph, job: Job) -> Section:
    """The variant's scales, and what prediction reads of PSL."""
    s = graph.segment(job.method, job.variant)
    return models.PredictSettings(psl=s.psl, predict=s.predict)


def propose_masks(graph: Graph, job: Job) -> Section:
    """The section of proposals, for the kind that the path names."""
    proposals = graph.config.instances.proposals
    return models.ProposalSettings(proposals=proposals.model_copy(update={"kind": job.kind}))


def respond_peaks(graph: Graph, job: Job) -> Section:
    """How the last round's peaks are traced back."""
    c, last = graph.settings(job.method), graph.max_rounds(job.method)
    return models.ResponseSettings(
        kind=graph.round_kind(job.method, last),
        backbone=c.backbone,
        options=graph.options(job.method, last, stage="respond_peaks"),
        scale=c.instances.response_scale,
    )


def retrieve_instances(graph: Graph, job: Job) -> Section:
    """How instances are found: by proposals or as components of masks."""
    s = graph.settings(job.method).instances
    return models.RetrievalSettings(route=s.route, min_area=s.min_area, retrieval=s.retrieval)


def measure_scores(graph: Graph, job: Job) -> Section:
    """The thresholds."""
    e = graph.config.evaluate
    return models.SweepSettings(threshold=e.threshold, sweep_max=e.sweep_max, sweep_steps=e.sweep_steps)
