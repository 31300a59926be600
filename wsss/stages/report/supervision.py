"""What taught the run something: labels, pretraining, saliency, proposals and truth masks (no torch)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from wsss.settings.kinds import PROPOSALS, ProposalKind, SaliencyKind, saliency_kinds
from wsss.settings.segment import NETWORKS
from wsss.stages.report.data_facts import DataFacts
from wsss.workflow.rows import FULL_SUPERVISION, RunPlan


class Teacher(NamedTuple):
    """Something that taught the run.

    Attributes:
        kind: labels, weights, none, pixels, given or truth: how strong the supervision is.
        heading: One or two words.
        text: One or more sentences.
    """

    kind: str
    heading: str
    text: str


def supervision(plan: RunPlan, facts: DataFacts) -> list[Teacher]:
    """What taught the run something, image-level labels first, truth masks last."""
    config = plan.config
    proposals = {entry.method: entry.proposals for entry in plan.instances if entry.proposals}
    full = config["evaluate"]["full_supervision"]
    given = [m for m, kind in proposals.items() if PROPOSALS[kind].level == "truth"]
    labels = (
        f"Class names of {facts.train.images} training images ({facts.train.labels:.2f} an image). "
        "No boxes, points or pixels."
    )
    found = [
        Teacher("labels", "Image-level labels", labels),
        _pretraining(config),
        *_by_kind("Saliency", plan.cues, saliency_kinds()),
        *_by_kind("Proposals", proposals, PROPOSALS, everyone=plan.methods),
    ]
    if _reads_labels_at_prediction(config["segment"]):
        found.append(Teacher("given", "Labels at prediction", LABELS_AT_PREDICTION))
    found.append(Teacher("truth", "Truth masks", _truth(facts, full=full, given=given)))
    if facts.has_truth and full:
        found.append(Teacher("pixels", "Reference", REFERENCE))
    return found


LABELS_AT_PREDICTION = (
    "A variant weights its masks by the images' true labels: the paper's upper bound, no fair result."
)
REFERENCE = (
    f"The rows “{FULL_SUPERVISION}” come from the same segmenter trained with the training set's truth masks, "
    "for comparison only."
)


def _pretraining(config: Mapping[str, Any]) -> Teacher:
    backbone, segment = config["backbone"], config["segment"]
    used = [f"{backbone['name']} ({backbone['weights']})"] if backbone["weights"] != "none" else []
    if NETWORKS[segment["network"]] and segment["weights"] != "none":
        used.append(f"{segment['network']} ({segment['weights']})")
    if not used:
        return Teacher("none", "Pretraining", "None: every network starts from random weights.")
    text = f"ImageNet weights of {', '.join(used)}: class names of ImageNet's photographs, no pixels."
    return Teacher("weights", "Pretraining", text)


def _by_kind(
    heading: str,
    users: Mapping[str, str],
    kinds: Mapping[str, SaliencyKind] | Mapping[str, ProposalKind],
    *,
    everyone: Sequence[str] = (),
) -> list[Teacher]:
    """A sentence a kind. It names the methods that use the kind, unless all of `everyone` or of `users` do."""
    found = []
    for kind in dict.fromkeys(users.values()):
        text, own = kinds[kind].supervision, [m for m, k in users.items() if k == kind]
        whole = len(own) == len(everyone or users)
        found.append(Teacher(kinds[kind].level, heading, text if whole else f"{', '.join(own)}: {text}"))
    return found


def _reads_labels_at_prediction(segment: Mapping[str, Any]) -> bool:
    """Whether PSL weights masks by true labels, in the section or in one of its recipes."""
    psl = segment["psl"]
    named = "labels" in (psl["train_weighting"], psl["test_weighting"])
    return named or '_weighting": "labels"' in json.dumps(segment["recipes"])


def _truth(facts: DataFacts, *, full: bool, given: Sequence[str]) -> str:
    """What read the truth masks.

    Args:
        facts: Of the data set.
        full: Whether a segmenter was trained with them for comparison.
        given: Methods whose proposals are the true instances.
    """
    names = ", ".join(given)
    if not facts.has_truth:
        readers = f"but the proposals of {names} are its true instances" if given else "and no stage needed any"
        return f"The data set has none. Nothing on this page is measured against truth, {readers}."
    readers = _and(
        [
            "Read by evaluation",
            *[f"by the proposals of {names} (true instances)"] * bool(given),
            *[f"by the training of “{FULL_SUPERVISION}”"] * full,
        ]
    )
    only = "" if given or full else " only"
    losses = f"losses except those of “{FULL_SUPERVISION}”" if full else "losses"
    return (
        f"{readers}{only}: {facts.train.measured} training and {facts.val.measured} validation masks. "
        "Every mIoU, IoU, precision, recall, accuracy and coverage here used them; "
        f"{losses}, claimed areas, time and memory did not. "
        "miou_best also chooses its threshold by them; no later stage knows that choice."
    )


def _and(parts: Sequence[str]) -> str:
    """The parts in one phrase: "a, b and c"."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
