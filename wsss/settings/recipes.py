"""Recipes: what a method or a variant of a segmenter changes of the configuration (no torch)."""

from __future__ import annotations

from typing import Any

from wsss.settings.sections import Config, SegmentSection
from wsss.settings.values import merge, validate

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {"psl": {"enabled": False}, "cycles": 1},
    "psl": {"psl": {"enabled": True}},
}
"""Built-in variants. plain is the paper's "w/o PSL"; it has one cycle unless segment.recipes says otherwise."""


def for_method(config: Config, method: str) -> tuple[str, Config]:
    """The kind of `method`, and the configuration with its recipe laid over it."""
    recipe = dict(config.recipes.get(method, {}))
    kind = recipe.pop("kind", method)
    return kind, validate(Config, merge(config.model_dump(mode="json"), recipe), where=f"recipes.{method}")


def for_variant(segment: SegmentSection, variant: str) -> SegmentSection:
    """The segment section with the variant's settings laid over it."""
    over = merge(VARIANTS.get(variant, {}), segment.recipes.get(variant, {}))
    return validate(SegmentSection, merge(segment.model_dump(mode="json"), over), where=f"segment.recipes.{variant}")
