"""Where every artefact lies and who owns equal work: the pure half of the rule files (no torch).

Rounds, regions and pseudo masks whose settings are equal for several methods or variants are made once, by the first method (variant) listed: its owner.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from wsss.methods import FACTS, Facts
from wsss.settings import sections, stage_settings
from wsss.settings.config import for_method, for_variant
from wsss.settings.reading import as_read, relevant
from wsss.settings.sections import Config, SegmentSection
from wsss.workflow.rows import FULL_SUPERVISION as FULL
from wsss.workflow.rows import MeasuredArtefact, RunPlan, TrainingRecord

TEST_PHASE = {name: sections.PslSection.model_fields[name].default for name in ("test_weighting", "test_p")}
"""Keys of PSL that only prediction reads, at their defaults."""


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
        self._seeds = {
            m: as_read(c.seeds).model_dump(mode="json") for m, (_, c) in self._resolved.items()
        }  # once: rules ask thousands of times

    # ------------------------------------------------------------ methods and rounds

    def kind(self, method: str) -> str:
        """The method's kind, e.g. erasing."""
        return self._resolved[method][0]

    def facts(self, method: str) -> Facts:
        """What rules must know of the method."""
        return FACTS[self.kind(method)]

    def settings(self, method: str) -> Config:
        """The configuration with the method's recipe laid over it; the plain one for the fully supervised reference."""
        return self.config if method == FULL else self._resolved[method][1]

    def is_auto(self, method: str) -> bool:
        """Whether the number of rounds is decided while the workflow runs."""
        return self.facts(method).rounds and self.settings(method).seeds.rounds.mode == "auto"

    def max_rounds(self, method: str) -> int:
        """Rounds with mode fixed; the largest number with mode auto."""
        rounds = self.settings(method).seeds.rounds
        facts = self.facts(method)
        return facts.length if not facts.rounds else rounds.max if rounds.mode == "auto" else rounds.count

    def round_kind(self, method: str, round: int) -> str:
        """The kind that trains this round: erasing's first round is CAM's."""
        return (self.facts(method).starts_as if round == 1 else "") or self.kind(method)

    def round_source(self, method: str, round: int) -> str:
        """The method that owns this round's scores."""
        return self._owner(method, round, "scores")

    def region_source(self, method: str, round: int) -> str:
        """The method that owns this round's regions (and its metrics.json)."""
        return self._owner(method, round, "regions")

    def _owner(self, method: str, round: int, what: Literal["classifier", "scores", "regions"]) -> str:
        key = self._round_key(method, round, what)
        for other in self.config.methods:
            sure = other == method or (not self.is_auto(other) and self.max_rounds(other) >= round) or round == 1
            if sure and self._round_key(other, round, what) == key:
                return other
        raise AssertionError("a method owns its own round")

    def _round_key(self, method: str, round: int, what: Literal["classifier", "scores", "regions"]) -> str:
        settings, seeds = self.settings(method), self._seeds[method]
        kind = self.round_kind(method, round)
        hidden = round > 1 and FACTS[kind].erases  # by what earlier rounds' scores and claims say
        claim = seeds["claim"] if what == "regions" or hidden else None
        training = what == "classifier" and not hidden
        saliency = settings.saliency.kind if "saliency" in FACTS[kind].needs else None
        own, scores = self._options(method, round, training=training), None if training else seeds["scores"]
        return json.dumps(
            [kind, settings.backbone.model_dump(mode="json"), seeds["classifier"], scores, claim, own, saliency]
        )

    def _options(self, method: str, round: int, *, training: bool = False) -> dict[str, Any]:
        """The settings that belong to the round's kind alone, without those that later rounds read; for training without those that score maps alone read."""
        kind, seeds = self.round_kind(method, round), self._seeds[method]
        facts = FACTS[kind]
        options = seeds[facts.options] if facts.options else seeds["custom"].get(facts.over or kind, {})
        return {
            k: v for k, v in options.items() if facts.since.get(k, 1) <= round and not (training and k in facts.scoring)
        }

    # ------------------------------------------------------------ variants and cycles

    def segment(self, method: str, variant: str) -> SegmentSection:
        """The segment section of a method's variant."""
        return for_variant(self.settings(method).segment, variant)

    def cycles(self, method: str, variant: str) -> int:
        """Trainings in a row of this variant."""
        return 1 if method == FULL else self.segment(method, variant).cycles

    def pseudo_source(self, variant: str, cycle: int) -> str:
        """The variant that owns these pseudo masks. Cycle 0's are the same for all: plain owns them where it is trained, whatever the order of the list."""
        variants = self.config.segment.variants
        if cycle > 0 or not variants:
            return variant
        return "plain" if "plain" in variants else variants[0]

    # ------------------------------------------------------------ paths

    def dataset(self, name: str) -> str:
        """A file of the dataset folder."""
        return f"{self.base}/dataset/{name}"

    def shards(self, split: str) -> list[str]:
        """Shard names of a split."""
        return [f"{split}-{n}" for n in range(getattr(self.config.compute.shards, split))]

    def saliency(self, method: str) -> list[str]:
        """Saliency maps of the training shards, of the kind that a method is set to; none with kind none."""
        kind = self.settings(method).saliency.kind
        return [] if kind == "none" else [f"{self.base}/saliency/{kind}/{s}.h5" for s in self.shards("train")]

    def all_saliency(self) -> list[str]:
        """Saliency maps of every kind that a method is set to."""
        return sorted({f for m in self.config.methods for f in self.saliency(m)})

    def round_folder(self, method: str, round: int) -> str:
        """Folder of a round's scores, at their owner."""
        return f"{self.base}/{self.round_source(method, round)}/seeds/round-{round}"

    def classifier(self, method: str, round: int, file: str = "classifier.pt") -> str:
        """A round's network (or training.json), at its owner."""
        return f"{self.base}/{self._owner(method, round, 'classifier')}/seeds/round-{round}/{file}"

    def scores(self, method: str, round: int) -> list[str]:
        """Score maps of a round."""
        return [f"{self.round_folder(method, round)}/scores/{s}.h5" for s in self.shards("train")]

    def regions(self, method: str, round: int) -> list[str]:
        """Regions of a round."""
        return [
            f"{self.base}/{self.region_source(method, round)}/seeds/round-{round}/regions/{s}.h5"
            for s in self.shards("train")
        ]

    def earlier_regions(self, method: str, round: int) -> list[str]:
        """Regions hidden from a round: of all rounds before it, if the method erases."""
        return (
            [f for r in range(1, round) for f in self.regions(method, r)]
            if FACTS[self.round_kind(method, round)].erases
            else []
        )

    def previous_classifier(self, method: str, round: int) -> list[str]:
        """The network that this round starts from, if the method's rounds do."""
        inherits = round > 1 and FACTS[self.round_kind(method, round)].inherits
        return [self.classifier(method, round - 1)] if inherits else []

    def round_metrics(self, method: str, round: int) -> str:
        """metrics.json of a round."""
        return f"{self.base}/{self.region_source(method, round)}/seeds/round-{round}/metrics.json"

    def fused(self, method: str) -> list[str]:
        """Fused regions and scores."""
        return [f"{self.base}/{method}/seeds/fused/{s}.h5" for s in self.shards("train")]

    def seed_masks(self, method: str) -> list[str]:
        """Unrefined seed masks."""
        return [f"{self.base}/{method}/pseudo/seed/{s}.h5" for s in self.shards("train")]

    def pseudo(self, method: str, variant: str, cycle: int) -> list[str]:
        """The masks that train segment/{variant}/cycle-{cycle}; none for the fully supervised reference."""
        folder = f"{self.base}/{method}/pseudo/{self.pseudo_source(variant, cycle)}/cycle-{cycle}"
        return [] if method == FULL else [f"{folder}/{s}.h5" for s in self.shards("train")]

    def segment_folder(self, method: str, variant: str, cycle: int) -> str:
        """Folder of a segmenter and its predictions."""
        return f"{self.base}/{method}/segment/{variant}/cycle-{cycle}"

    def previous_segmenter(self, method: str, variant: str, cycle: int) -> list[str]:
        """The segmenter that this cycle's training starts from, if it starts from one."""
        starts = cycle > 0 and self.segment(method, variant).cycle_start == "previous"
        return [f"{self.segment_folder(method, variant, cycle - 1)}/segmenter.pt"] if starts else []

    def starting_classifier(self, method: str, variant: str, cycle: int) -> list[str]:
        """The classifier whose backbone this cycle's training starts from, if it does; the fully supervised reference starts as the first segmented method does."""
        if self.segment(method, variant).start != "classifier" or self.previous_segmenter(method, variant, cycle):
            return []
        owner = [*self.config.segment.methods, *self.config.methods][0] if method == FULL else method
        return [self.classifier(owner, 1)]

    def predictions(self, method: str, variant: str, cycle: int, split: str) -> list[str]:
        """Predicted masks of a split."""
        return [f"{self.segment_folder(method, variant, cycle)}/predictions/{s}.h5" for s in self.shards(split)]

    def final_masks(self, method: str, split: str) -> list[str]:
        """What users take away. Train: the masks that would train a next cycle, refined and label-filtered. Val: the last predictions; none without a segmenter."""
        if method not in self.config.segment.methods or not self.config.segment.variants:
            return self.pseudo(method, "plain", 0) if split == "train" else []
        variant = self.config.segment.variants[-1]
        cycles = self.cycles(method, variant)
        return (
            self.pseudo(method, variant, cycles)
            if split == "train"
            else self.predictions(method, variant, cycles - 1, split)
        )

    # ------------------------------------------------------------ what is measured

    def measured(self, rounds: Mapping[str, int]) -> list[MeasuredArtefact]:
        """Every artefact that is measured, in the order data flows, method by method.

        Args:
            rounds: Rounds used, by method.
        """
        rows = [row for m in self.config.methods for row in self._seed_rows(m, rounds[m])]
        for method in self.config.segment.methods:
            rows += [row for variant in self.config.segment.variants for row in self._segment_rows(method, variant)]
            rows += self._exported_rows(method)
        if self.config.evaluate.full_supervision:
            rows += self._segment_rows(FULL, "plain")
        return rows

    def _seed_rows(self, method: str, rounds: int) -> list[MeasuredArtefact]:
        """Scores of every round, what is made of them, and the pseudo masks of cycle 0."""
        scores = {r: self.scores(method, r) for r in range(1, rounds + 1)}
        return [
            *(
                MeasuredArtefact(method=method, stage="scores", name=f"scores-round-{r}", files=files, round=r)
                for r, files in scores.items()
            ),
            MeasuredArtefact(method=method, stage="fused", name="fused", files=self.fused(method)),
            MeasuredArtefact(method=method, stage="seed", name="seed", files=self.seed_masks(method)),
            self._pseudo_row(method, self.pseudo_source("plain", 0), 0),
        ]

    def _segment_rows(self, method: str, variant: str) -> list[MeasuredArtefact]:
        """Every cycle of a variant: the masks that train it (cycle 0's are the seeds' rows), and its predictions."""
        rows = []
        for cycle in range(self.cycles(method, variant)):
            if cycle > 0:
                rows.append(self._pseudo_row(method, variant, cycle))
            rows += [self._prediction_row(method, variant, cycle, split) for split in ("train", "val")]
        return rows

    def _exported_rows(self, method: str) -> list[MeasuredArtefact]:
        """The training masks that users take away: those of the cycle after the last."""
        if not self.config.segment.variants:
            return []
        variant = self.config.segment.variants[-1]
        row = self._pseudo_row(method, variant, self.cycles(method, variant))
        return [replace(row, files=self.final_masks(method, "train"), exported=True)]

    def _pseudo_row(self, method: str, variant: str, cycle: int) -> MeasuredArtefact:
        name, files = f"pseudo-{variant}-cycle-{cycle}", self.pseudo(method, variant, cycle)
        return MeasuredArtefact(method=method, stage="pseudo", name=name, files=files, variant=variant, cycle=cycle)

    def _prediction_row(self, method: str, variant: str, cycle: int, split: str) -> MeasuredArtefact:
        return MeasuredArtefact(
            method=method,
            stage="prediction",
            name=f"prediction-{variant}-cycle-{cycle}-{split}",
            files=self.predictions(method, variant, cycle, split),
            variant=variant,
            cycle=cycle,
            split=split,
        )

    def _region_rows(self, method: str, rounds: int) -> list[MeasuredArtefact]:
        """Regions of every round: shown by the report, not measured."""
        return [
            MeasuredArtefact(method=method, stage="regions", name="", files=self.regions(method, r), round=r)
            for r in range(1, rounds + 1)
        ]

    def records(self, rounds: Mapping[str, int]) -> list[TrainingRecord]:
        """Records of trainings and rounds, for curves and timing rows.

        Args:
            rounds: Rounds used, by method.
        """
        out: list[TrainingRecord] = []
        for method in self.config.methods:
            for r in range(1, rounds[method] + 1):
                training, measured = self.classifier(method, r, "training.json"), self.round_metrics(method, r)
                out.append(TrainingRecord(method=method, kind="classifier", file=training, round=r))
                out.append(TrainingRecord(method=method, kind="round", file=measured, round=r))
        pairs = [(m, v) for m in self.config.segment.methods for v in self.config.segment.variants]
        pairs += [(FULL, "plain")] * self.config.evaluate.full_supervision
        for m, v in pairs:
            for cycle in range(self.cycles(m, v)):
                file = f"{self.segment_folder(m, v, cycle)}/metrics.json"
                out.append(TrainingRecord(method=m, kind="segmenter", file=file, variant=v, cycle=cycle))
        return out

    def plan(self, rounds: Mapping[str, int]) -> RunPlan:
        """Everything that the report must find, without the instances.

        Args:
            rounds: Rounds used, by method.
        """
        methods = self.config.methods
        regions = [row for m in methods for row in self._region_rows(m, rounds[m])]
        return RunPlan(
            run=self.config.run,
            config=relevant(self.config),
            methods=methods,
            kinds={m: self.kind(m) for m in methods},
            cues={m: self.settings(m).saliency.kind for m in methods},
            saliency={m: self.saliency(m) for m in methods},
            artefacts=[*self.measured(rounds), *regions],
            records=self.records(rounds),
            benchmarks=f"{self.base}/benchmarks",
        )

    # ------------------------------------------------------------ stage settings

    def stage(
        self, stage: str, *, method: str = "", round: int = 1, variant: str = "", cycle: int = 0, cue: str = ""
    ) -> sections.Section:
        """Exactly the keys that a stage reads, and no others, those that its choices leave unread at their defaults; `cue` is the kind of saliency, where methods differ in it."""
        return as_read(self._stage(stage, method=method, round=round, variant=variant, cycle=cycle, cue=cue))

    def _stage(self, stage: str, *, method: str, round: int, variant: str, cycle: int, cue: str) -> sections.Section:
        c = self.settings(method) if method else self.config
        kind = self.round_kind(method, round) if method and method != FULL else ""
        if stage == "train_classifier":
            return stage_settings.ClassifierSettings(
                kind=kind,
                round=round,
                seed=c.seed,
                backbone=c.backbone,
                classifier=c.seeds.classifier,
                options=self._options(method, round, training=True),
            )
        if stage == "extract_scores":
            return stage_settings.ScoresSettings(
                kind=kind, round=round, backbone=c.backbone, scores=c.seeds.scores, options=self._options(method, round)
            )
        if stage == "fuse_regions":
            return stage_settings.FuseSettings(kind=self.kind(method), fuse=c.seeds.fuse)
        if stage == "refine_masks":
            refine = c.pseudo.refine if cycle == 0 else "crf"
            return stage_settings.RefineSettings(
                refine=refine, crf=c.pseudo.crf if refine == "crf" else sections.CrfSection()
            )
        if stage == "train_segmenter":
            s = self.segment(method, variant)
            # what prediction alone reads must not retrain, nor what a segmenter without PSL does not read
            psl = s.psl.model_copy(update=TEST_PHASE) if s.psl.enabled else sections.PslSection()
            return stage_settings.SegmenterSettings(
                seed=c.seed, cycle=cycle, full_supervision=method == FULL, network=s.network, weights=s.weights, start=s.start, backbone=c.backbone,
                train=s.train, psl=psl,
            )  # fmt: skip
        if stage == "predict_masks":
            s = self.segment(method, variant)
            return stage_settings.PredictSettings(
                psl=s.psl if s.psl.enabled else sections.PslSection(), predict=s.predict
            )
        e = c.evaluate
        simple: dict[str, sections.Section] = {
            "index_images": stage_settings.IndexSettings(dataset=c.dataset, shards=c.compute.shards),
            "estimate_saliency": stage_settings.SaliencySettings(
                saliency=c.saliency.model_copy(update={"kind": cue}) if cue else c.saliency
            ),
            "claim_regions": stage_settings.ClaimSettings(claim=c.seeds.claim),
            "make_seeds": stage_settings.SeedMaskSettings(seed=c.pseudo.seed),
            "measure_scores": stage_settings.SweepSettings(
                threshold=e.threshold, sweep_max=e.sweep_max, sweep_steps=e.sweep_steps
            ),
        }
        return simple[stage]
