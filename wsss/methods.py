"""The method interface, the registry and the stop rule (no torch).

Rule files read `FACTS`; stages call `load_method(kind)`, which imports that method's module alone, so that a method's code never touches another's reruns.

Shape legend: N images of a batch, C foreground classes, K present classes, H×W image, h×w score grid.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import torch

    from wsss.settings.sections import BackboneSection, ClassifierSection, StopSection


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What rule files must know of a method.

    Attributes:
        module: Module with a class `Method` that follows the protocol below.
        needs: Cues per image that training reads, e.g. ("saliency",).
        erases: Whether round k hides what rounds 1..k-1 claimed.
        inherits: Whether round k starts from round k-1's network.
        fuse: How rounds combine: last, or union (regions) with the maximum (scores).
        rounds: Whether `seeds.rounds` applies; otherwise the method has `length` rounds.
        length: Rounds of a method whose rounds are its stages.
        starts_as: Kind whose round 1 is this method's round 1, so that it is trained once for both; empty: its own.
        background: Whether its scores have a map of the background too, class 0.
        options: Subsection of `seeds` with its own settings; empty: those under its kind, or under `over`, in `seeds.custom`, if any.
        responds: Whether its class follows `PeakMethod`, so that its peaks can become instances.
        over: Kind that this one repeats on erased images; set by `registered`.
        settings: Section (wsss/settings/base.py) of its own keys under `seeds.custom`, which are then checked with the
            configuration; None: any keys, which the method checks itself.
    """

    module: str
    needs: tuple[str, ...] = ()
    erases: bool = False
    inherits: bool = False
    fuse: Literal["last", "union"] = "last"
    rounds: bool = False
    length: int = 1
    starts_as: str = ""
    background: bool = False
    options: str = ""
    settings: Any = None
    responds: bool = False
    over: str = ""


BUILT_IN: dict[str, Facts] = {
    "cam": Facts(module="wsss.stages.seeds.cam"),
    "erasing": Facts(module="wsss.stages.seeds.erasing", erases=True, fuse="union", rounds=True, starts_as="cam"),
    "eps": Facts(module="wsss.stages.seeds.eps", needs=("saliency",), background=True, options="eps"),
    "esol": Facts(
        module="wsss.stages.seeds.esol",
        inherits=True,
        length=3,
        starts_as="cam",
        options="esol",
    ),
    "prm": Facts(
        module="wsss.stages.seeds.prm",
        options="prm",
        responds=True,
    ),
}
ENTRY_POINTS = "wsss.methods"
"""Group of the entry points by which other packages add methods: kind = module:object, the object a Facts (docs/NEW_METHOD.md)."""


def registered() -> dict[str, Facts]:
    """The built-in methods and those of installed packages, by kind; and of each that has one round, erasing over it: KIND_erasing.

    Raises:
        ValueError: If a package's entry is no Facts, or takes a name that is taken.
    """
    found = dict(BUILT_IN)
    for point in entry_points(group=ENTRY_POINTS):
        facts = point.load()
        if not isinstance(facts, Facts):
            raise ValueError(
                f"entry point {point.name} of {ENTRY_POINTS} ({point.value}) is {type(facts).__name__}, expected wsss.methods.Facts"
            )
        if found.get(point.name, facts) != facts:
            raise ValueError(
                f"entry point {point.name} of {ENTRY_POINTS} ({point.value}): there is a method of that name; choose another"
            )
        found[point.name] = facts
    erasing = {f.starts_as for f in found.values() if f.erases}
    once = {
        kind: facts for kind, facts in found.items() if facts.length == 1 and not facts.rounds and kind not in erasing
    }
    return {f"{kind}_erasing": _erased(kind, facts) for kind, facts in once.items()} | found


def _erased(kind: str, facts: Facts) -> Facts:
    """The method round after round, on images without what earlier rounds claimed; its peaks are of one round, so they become no instances."""
    return replace(
        facts, erases=True, fuse="union", rounds=True, starts_as=facts.starts_as or kind, responds=False, over=kind
    )


FACTS = registered()
"""Methods by kind."""


class SeedMethod(Protocol):
    """What a method's class `Method` offers. One instance serves one round."""

    def __init__(self, *, options: Mapping[str, Any] | None = None, class_names: Sequence[str] = ()) -> None:
        """`options`: keys of its own subsection of `seeds`; `class_names`: by id, background first."""

    def build(
        self, num_classes: int, *, round: int, backbone: BackboneSection, previous: torch.nn.Module | None
    ) -> torch.nn.Module:
        """Network of this round; `forward(image_n (N, 3, H, W))` gives raw score maps (N, C, h, w), or as many as `losses`, `pool` and `scores` expect."""

    def training(self, settings: ClassifierSection, *, round: int) -> ClassifierSection:
        """The training settings of this round: `settings`, or what the method makes of them."""

    def trainable(
        self, model: torch.nn.Module, *, round: int
    ) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
        """Parameters the optimiser may move: (pretrained, new)."""

    def pool(self, maps: torch.Tensor) -> torch.Tensor:
        """(N, C, h, w) score maps to (N, C) class logits."""

    def losses(
        self, maps: torch.Tensor, batch: Mapping[str, Any], *, settings: ClassifierSection, round: int
    ) -> dict[str, torch.Tensor]:
        """Named scalars; the loop sums them. `batch` has image_n (N, 3, H, W), labels (N, C) float32, the cues in `needs`, and `progress`, the share of the training done, in [0, 1)."""

    def scores(self, model: torch.nn.Module, image_n: torch.Tensor, class_ids: Sequence[int]) -> torch.Tensor:
        """Raw signed maps (N, K, h, w) of `class_ids` (1..C; 0 for the background, where the method has a map of it) for normalised images (N, 3, H, W): no bias, no ReLU, no normalising."""


class PeakMethod(SeedMethod, Protocol):
    """A method whose peaks can be traced back to the pixels (fact `responds`)."""

    def traced_peaks(self, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, C, h, w) score maps to the maps in which peaks are looked for (N, C, h', w'), whose corners are the score maps' corners, and the peaks in them, bool; at least one a map."""

    def responses(self, model: torch.nn.Module, image_n: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
        """Mass (P, H, W) that arrives at the pixels of an image (3, H, W) from `starts` (P, C, h', w'), e.g. 1 at a peak."""


def load_method(kind: str, *, options: Mapping[str, Any] | None = None, class_names: Sequence[str] = ()) -> SeedMethod:
    """An instance of the method's class; imports its module (and torch).

    Args:
        kind: A key of FACTS.
        options: Its own settings; absent keys take their defaults.
        class_names: By id, background first.
    """
    method: SeedMethod = importlib.import_module(FACTS[kind].module).Method(options=options, class_names=class_names)
    return method


def should_stop(metrics: Sequence[Mapping[str, float]], policy: StopSection) -> Literal["", "discard", "keep"]:
    """Whether the rounds end with the last of `metrics` (rounds 1..r, in order).

    Args:
        metrics: A mapping a round with `final_loss` (mean loss of the last epoch) and `new_area` (share of the training pixels newly claimed, in [0, 1]).
        policy: The rule and its limits.

    Returns:
        "" to go on, "discard" to end without the last round (its classifier no longer learns), "keep" to end with it (it adds little).
    """
    last = metrics[-1]
    if policy.rule == "loss" and len(metrics) > 1 and last["final_loss"] > policy.loss_ratio * metrics[0]["final_loss"]:
        return "discard"
    if policy.rule == "area" and last["new_area"] < policy.min_new_area:
        return "keep"
    return ""


def rounds_until_stop(most: int, policy: StopSection, *, figures: Callable[[int], Mapping[str, float] | None]) -> int:
    """How many rounds `should_stop` leaves.

    Args:
        most: Largest number of rounds.
        policy: The rule and its limits.
        figures: Round (from 1) to its figures, asked for in order until the rule stops; None where it is not measured yet: that round is still to do.
    """
    metrics: list[Mapping[str, float]] = []
    for r in range(1, most + 1):
        if (measured := figures(r)) is None:
            return r
        metrics.append(measured)
        if verdict := should_stop(metrics, policy):
            return r - 1 if verdict == "discard" else r
    return most
