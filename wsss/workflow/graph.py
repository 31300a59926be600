"""Paths of all artefacts, and owners of equal work: the pure half of the rule files (no torch).

Rounds, regions and pseudo masks whose settings are equal for several methods or variants are made once. Their owner
is the first method (variant) listed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from wsss.methods import FACTS, Facts
from wsss.settings import sections
from wsss.settings.reading import as_read, only_read
from wsss.settings.recipes import for_method, for_variant
from wsss.settings.sections import Config, SegmentSection
from wsss.workflow.jobs import Job
from wsss.workflow.rounds import rounds_until_stop
from wsss.workflow.rows import FULL_SUPERVISION
from wsss.workflow.stages import STAGES

Made = Literal["classifier", "scores", "regions"]
"""What of a round may be shared."""


class Graph:
    """The artefacts of one configuration. Paths are relative to the working directory."""

    def __init__(self, config: Config) -> None:
        """Lay the recipes over the configuration, once.

        Args:
            config: A checked configuration.
        """
        self.config = config
        self.base = f"results/{config.run}"
        self._resolved = {m: for_method(config, m) for m in config.methods}
        self._keys: dict[tuple[str, int, str], str] = {}  # made once: rules ask thousands of times

    # ------------------------------------------------------------ methods and rounds

    def kind(self, method: str) -> str:
        """The method's kind, e.g. erasing."""
        return self._resolved[method][0]

    def facts(self, method: str) -> Facts:
        """What rules must know of the method."""
        return FACTS[self.kind(method)]

    def settings(self, method: str) -> Config:
        """The configuration with the method's recipe laid over it; the plain one for the fully supervised reference."""
        return self.config if method == FULL_SUPERVISION else self._resolved[method][1]

    def is_auto(self, method: str) -> bool:
        """Whether the number of rounds is decided while the workflow runs."""
        return self.facts(method).rounds and self.settings(method).seeds.rounds.mode == "auto"

    def max_rounds(self, method: str) -> int:
        """Rounds with mode fixed; the largest number with mode auto."""
        rounds = self.settings(method).seeds.rounds
        facts = self.facts(method)
        return facts.length if not facts.rounds else rounds.max if rounds.mode == "auto" else rounds.count

    def rounds_used(self, method: str, *, figures: Callable[[int], Mapping[str, float] | None]) -> int:
        """Rounds with mode fixed; with mode auto as many as the stop rule leaves.

        Args:
            method: The method.
            figures: A round to its figures (metrics.json), or None where it is not measured yet.
        """
        if not self.is_auto(method):
            return self.max_rounds(method)
        policy = self.settings(method).seeds.rounds.stop
        return rounds_until_stop(self.max_rounds(method), policy, figures=figures)

    def round_kind(self, method: str, round: int) -> str:
        """The kind that trains this round: erasing's first round is CAM's."""
        return (self.facts(method).starts_as if round == 1 else "") or self.kind(method)

    def round_source(self, method: str, round: int) -> str:
        """The method that owns this round's scores."""
        return self._owner(method, round, "scores")

    def region_source(self, method: str, round: int) -> str:
        """The method that owns this round's regions (and its metrics.json)."""
        return self._owner(method, round, "regions")

    def _owner(self, method: str, round: int, what: Made) -> str:
        key = self._round_key(method, round, what)
        for other in self.config.methods:
            sure = other == method or (not self.is_auto(other) and self.max_rounds(other) >= round) or round == 1
            if sure and self._round_key(other, round, what) == key:
                return other
        raise AssertionError("a method owns its own round")

    def _round_key(self, method: str, round: int, what: Made) -> str:
        """What a round's product depends on: the settings of the stages that lead to it."""
        if (key := self._keys.get((method, round, what))) is None:
            facts = FACTS[self.round_kind(method, round)]
            hides = round > 1 and facts.erases  # what earlier rounds' scores and claims say
            stages = ["train_classifier"]
            stages += ["extract_scores"] if hides or what != "classifier" else []
            stages += ["claim_regions"] if hides or what == "regions" else []
            saliency = self.settings(method).saliency.kind if "saliency" in facts.needs else None
            given = [self.stage(s, method=method, round=round).model_dump(mode="json") for s in stages]
            key = self._keys[method, round, what] = json.dumps([saliency, *given])
        return key

    # ------------------------------------------------------------ variants and cycles

    def segment(self, method: str, variant: str) -> SegmentSection:
        """The segment section of a method's variant."""
        return for_variant(self.settings(method).segment, variant)

    def cycles(self, method: str, variant: str) -> int:
        """Trainings in a row of this variant."""
        return 1 if method == FULL_SUPERVISION else self.segment(method, variant).cycles

    def pseudo_source(self, variant: str, cycle: int) -> str:
        """The variant that owns these pseudo masks.

        Cycle 0's are the same for all variants. plain owns them where it is trained, whatever the order of the list.
        """
        variants = self.config.segment.variants
        if cycle > 0 or not variants:
            return variant
        return "plain" if "plain" in variants else variants[0]

    # ------------------------------------------------------------ paths

    def path(self, stage: str, **wildcards: Any) -> str:
        """Where a stage's output is."""
        return f"{self.base}/{STAGES[stage].path(**wildcards)}"

    def paths(self, stage: str, split: str = "train", **wildcards: Any) -> list[str]:
        """The outputs of a stage for the shards of a split."""
        return [self.path(stage, shard=shard, **wildcards) for shard in self.shards(split)]

    def dataset(self, name: str) -> str:
        """A file of the dataset folder."""
        return f"{self.base}/dataset/{name}"

    def shards(self, split: str) -> list[str]:
        """Shard names of a split."""
        return [f"{split}-{n}" for n in range(getattr(self.config.compute.shards, split))]

    def saliency(self, method: str) -> list[str]:
        """Saliency maps of the training shards, of the kind that a method is set to; none with kind none."""
        kind = self.settings(method).saliency.kind
        return [] if kind == "none" else self.paths("estimate_saliency", cue=kind)

    def seed_saliency(self, method: str) -> list[str]:
        """Saliency maps that the seed masks of a method read."""
        return self.saliency(method) if self.settings(method).pseudo.seed.cue == "saliency" else []

    def all_saliency(self) -> list[str]:
        """Saliency maps of every kind that a method is set to."""
        return sorted({f for m in self.config.methods for f in self.saliency(m)})

    def classifier(self, method: str, round: int) -> str:
        """A round's network, at its owner."""
        return self.path("train_classifier", method=self._owner(method, round, "classifier"), round=round)

    def training_record(self, method: str, round: int) -> str:
        """training.json of a round's network."""
        return str(Path(self.classifier(method, round)).with_name("training.json"))

    def scores(self, method: str, round: int) -> list[str]:
        """Score maps of a round."""
        return self.paths("extract_scores", method=self.round_source(method, round), round=round)

    def regions(self, method: str, round: int) -> list[str]:
        """Regions of a round."""
        return self.paths("claim_regions", method=self.region_source(method, round), round=round)

    def earlier_regions(self, method: str, round: int) -> list[str]:
        """Regions hidden from a round: of all rounds before it, if the method erases."""
        if not FACTS[self.round_kind(method, round)].erases:
            return []
        return [f for r in range(1, round) for f in self.regions(method, r)]

    def previous_classifier(self, method: str, round: int) -> list[str]:
        """The network that this round starts from, if the method's rounds do."""
        inherits = round > 1 and FACTS[self.round_kind(method, round)].inherits
        return [self.classifier(method, round - 1)] if inherits else []

    def round_metrics(self, method: str, round: int) -> str:
        """metrics.json of a round."""
        return self.path("measure_round", method=self.region_source(method, round), round=round)

    def fused(self, method: str) -> list[str]:
        """Fused regions and scores."""
        return self.paths("fuse_regions", method=method)

    def seed_masks(self, method: str) -> list[str]:
        """Unrefined seed masks."""
        return self.paths("make_seeds", method=method)

    def pseudo(self, method: str, variant: str, cycle: int) -> list[str]:
        """The masks that train segment/{variant}/cycle-{cycle}; none for the fully supervised reference."""
        if method == FULL_SUPERVISION:
            return []
        return self.paths("refine_masks", method=method, variant=self.pseudo_source(variant, cycle), cycle=cycle)

    def segmenter(self, method: str, variant: str, cycle: int) -> str:
        """A cycle's network."""
        return self.path("train_segmenter", method=method, variant=variant, cycle=cycle)

    def segmenter_record(self, method: str, variant: str, cycle: int) -> str:
        """metrics.json of a cycle's network."""
        return str(Path(self.segmenter(method, variant, cycle)).with_name("metrics.json"))

    def previous_segmenter(self, method: str, variant: str, cycle: int) -> list[str]:
        """The segmenter that this cycle's training starts from, if it starts from one."""
        starts = cycle > 0 and self.segment(method, variant).cycle_start == "previous"
        return [self.segmenter(method, variant, cycle - 1)] if starts else []

    def starting_classifier(self, method: str, variant: str, cycle: int) -> list[str]:
        """The classifier whose backbone this cycle's training starts from, if it does.

        The fully supervised reference starts as the first segmented method does.
        """
        if self.segment(method, variant).start != "classifier" or self.previous_segmenter(method, variant, cycle):
            return []
        owner = [*self.config.segment.methods, *self.config.methods][0] if method == FULL_SUPERVISION else method
        return [self.classifier(owner, 1)]

    def predictions(self, method: str, variant: str, cycle: int, split: str) -> list[str]:
        """Predicted masks of a split."""
        return self.paths("predict_masks", split, method=method, variant=variant, cycle=cycle)

    def unrefined(self, method: str, variant: str, cycle: int) -> list[str]:
        """What the pseudo masks of a cycle are made from: the seed masks, or the predictions of the cycle before."""
        return self.seed_masks(method) if cycle == 0 else self.predictions(method, variant, cycle - 1, "train")

    def final_masks(self, method: str, split: str) -> list[str]:
        """What users take away.

        Train: the masks that would train a next cycle, refined and label-filtered. Val: the last predictions; none
        without a segmenter.
        """
        if method not in self.config.segment.methods or not self.config.segment.variants:
            return self.pseudo(method, "plain", 0) if split == "train" else []
        variant = self.config.segment.variants[-1]
        cycles = self.cycles(method, variant)
        if split == "train":
            return self.pseudo(method, variant, cycles)
        return self.predictions(method, variant, cycles - 1, split)

    # ------------------------------------------------------------ stage settings

    def stage(self, stage: str, job: Job | None = None, **wildcards: Any) -> sections.Section:
        """Exactly the keys that a stage reads; those that its choices leave unread have their defaults.

        Args:
            stage: A key of STAGES that has a view.
            job: The job; or give its wildcards by name.
            wildcards: Those of `Job`.
        """
        job, view = job or Job(**wildcards), STAGES[stage].view
        assert view is not None, f"{stage} is given no settings"
        return as_read(view(self, job), stage=stage, round=job.round if job.method else 0)

    def options(self, method: str, round: int, *, stage: str) -> dict[str, Any]:
        """Settings of the round's kind alone, without those that other stages or later rounds read."""
        kind, seeds = self.round_kind(method, round), self.settings(method).seeds
        facts = FACTS[kind]
        if facts.options:
            return only_read(getattr(seeds, facts.options), stage=stage, round=round)
        given = seeds.custom.get(facts.over or kind, {})
        return only_read(facts.settings(**given), stage=stage, round=round) if facts.settings else dict(given)
