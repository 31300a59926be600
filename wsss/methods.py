"""The door for seed methods: what a method is, which ones there are, and how to load one (no torch).

A seed method is two things:

1. a module with a class `Method` that follows `SeedMethod`: a network, its losses, its score maps;
2. an entry of `Facts`: what rules must know of the method without importing it.

The built-in methods are in `BUILT_IN`. Other packages add theirs by an entry point (docs/NEW_METHOD.md).
Rule files read `FACTS`. Stages call `load_method`, which imports one method's module only: the code of a method
never reruns another method.

Shape legend: N images of a batch, C foreground classes, K present classes, H×W image, h×w score grid.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import torch


class SeedMethod(Protocol):
    """What a method's class `Method` offers. One instance serves one round; rounds count from 1.

    `settings` and `backbone` are sections of the configuration: `ClassifierSection` and `BackboneSection` of
    `wsss.settings.sections`.
    """

    def __init__(self, *, options: Mapping[str, Any] | None = None, class_names: Sequence[str] = ()) -> None:
        """Check the method's own settings.

        Args:
            options: Keys of the method's own subsection of `seeds`; absent keys take their defaults.
            class_names: Names by class id, background first.
        """

    def build(
        self, num_classes: int, *, round: int, backbone: Any, previous: torch.nn.Module | None
    ) -> torch.nn.Module:
        """Build the network of a round.

        Args:
            num_classes: C.
            round: The round.
            backbone: A `BackboneSection`.
            previous: The trained network of the round before, for methods that inherit it.

        Returns:
            A network with a `backbone`. Its `forward` takes image_n (N, 3, H, W) and gives raw score maps (N, C, h, w),
            or as many maps as `losses`, `pool` and `scores` expect.
        """

    def training(self, settings: Any, *, round: int) -> Any:
        """Return the training settings of a round: `settings` as given, or changed by the method."""

    def trainable(
        self, model: torch.nn.Module, *, round: int
    ) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
        """Return the parameters that the optimiser may move: (pretrained, new)."""

    def pool(self, maps: torch.Tensor) -> torch.Tensor:
        """Pool score maps (N, C, h, w) to class logits (N, C)."""

    def losses(
        self, maps: torch.Tensor, batch: Mapping[str, Any], *, settings: Any, round: int
    ) -> dict[str, torch.Tensor]:
        """Return named scalar losses; the training loop sums them.

        Args:
            maps: What `forward` gave.
            batch: image_n (N, 3, H, W), labels (N, C) float32, the cues in `Facts.needs`, and `progress`, the share of
                the training that is done, in [0, 1).
            settings: A `ClassifierSection`.
            round: The round.
        """

    def scores(self, model: torch.nn.Module, image_n: torch.Tensor, class_ids: Sequence[int]) -> torch.Tensor:
        """Return raw, signed score maps: no bias, no ReLU, no normalisation.

        Args:
            model: The trained network, in evaluation mode.
            image_n: (N, 3, H, W) normalised images.
            class_ids: K ids 1..C; 0 asks for the background's map, if `Facts.background`.

        Returns:
            (N, K, h, w).
        """


class PeakMethod(SeedMethod, Protocol):
    """A method whose peaks can be traced back to the pixels (`Facts.responds`)."""

    def traced_peaks(self, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Find the peaks to trace back, at least one in each map.

        Args:
            maps: (N, C, h, w) score maps.

        Returns:
            The maps on the grid of the peaks (N, C, h', w'), with the same corners; and the peaks (N, C, h', w') bool.
        """

    def responses(self, model: torch.nn.Module, image_n: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
        """Trace mass from peaks to pixels.

        Args:
            model: The trained network, in evaluation mode.
            image_n: (3, H, W) one normalised image.
            starts: (P, C, h', w') mass to start from, for example 1 at a peak.

        Returns:
            (P, H, W) the mass that arrives at the pixels.
        """


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What rule files must know of a method.

    Attributes:
        module: Module with a class `Method` that follows `SeedMethod`.
        needs: Cues per image that training reads, for example ("saliency",).
        erases: Whether round k hides what rounds 1..k-1 claimed.
        inherits: Whether round k starts from round k-1's network.
        fuse: How rounds combine: the last one, or the union of regions with the maximum of scores.
        rounds: Whether `seeds.rounds` applies; otherwise the method has `length` rounds.
        length: Number of rounds of a method whose rounds are its own steps.
        starts_as: Kind whose round 1 is also this method's round 1, so that it is trained once for both. Empty: none.
        background: Whether its scores include a map of the background, class 0.
        options: Subsection of `seeds` with its own settings. Empty: `seeds.custom.KIND`, if there is one.
        responds: Whether its class follows `PeakMethod`, so that its peaks can become instances.
        over: Kind that this method repeats on erased images; set by `registered`.
        scoring: Keys of its own settings that only score maps read. A change of them does not retrain.
        since: Its own settings' keys that not every round reads, with the first round that reads them. A change of one
            leaves earlier rounds alone.
        summing: Those keys of `scoring` that only say how score maps are made of peaks. A change of them does not
            trace peaks again.
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
    scoring: tuple[str, ...] = ()
    summing: tuple[str, ...] = ()
    since: Mapping[str, int] = field(default_factory=dict, hash=False)
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
        since={"gamma": 3, "shrinkage": 3},
    ),
    "prm": Facts(
        module="wsss.stages.seeds.prm",
        options="prm",
        scoring=("peak_threshold", "response_subpixel", "scores", "batchnorm", "residual", "dead_ends", "inputs"),
        summing=("scores",),
        responds=True,
    ),
}
"""Methods of this package, by kind."""
ENTRY_POINTS = "wsss.methods"
"""Group of the entry points of other packages: `kind = module:object`, where the object is a `Facts`."""


def registered() -> dict[str, Facts]:
    """Collect the built-in methods and those of installed packages, by kind.

    Each method of one round is also offered with erasing over it, as KIND_erasing.

    Raises:
        ValueError: If a package's entry is no `Facts`, or its name is taken.
    """
    found = dict(BUILT_IN)
    for point in entry_points(group=ENTRY_POINTS):
        facts, place = point.load(), f"entry point {point.name} of {ENTRY_POINTS} ({point.value})"
        if not isinstance(facts, Facts):
            raise ValueError(f"{place} is {type(facts).__name__}, expected wsss.methods.Facts")
        if found.get(point.name, facts) != facts:
            raise ValueError(f"{place}: there is a method of that name; choose another")
        found[point.name] = facts
    with_erasing = {facts.starts_as for facts in found.values() if facts.erases}
    over = {
        f"{kind}_erasing": _erased(kind, facts)
        for kind, facts in found.items()
        if facts.length == 1 and not facts.rounds and kind not in with_erasing
    }
    return over | found  # a package's own KIND_erasing wins


def _erased(kind: str, facts: Facts) -> Facts:
    """The method on images without what earlier rounds claimed. It gives no instances: peaks are those of one round."""
    start = facts.starts_as or kind
    return replace(facts, erases=True, fuse="union", rounds=True, starts_as=start, responds=False, over=kind)


FACTS = registered()
"""All methods, by kind."""


def load_method(kind: str, *, options: Mapping[str, Any] | None = None, class_names: Sequence[str] = ()) -> SeedMethod:
    """Import a method's module (and torch) and return an instance of its class.

    Args:
        kind: A key of FACTS.
        options: Its own settings; absent keys take their defaults.
        class_names: Names by class id, background first.
    """
    method: SeedMethod = importlib.import_module(FACTS[kind].module).Method(options=options, class_names=class_names)
    return method
