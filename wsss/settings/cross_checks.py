"""Settings that do not fit together, beyond what one section can say of itself (no torch)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from wsss.files.limits import MOST_RUN_NAME
from wsss.methods import FACTS
from wsss.runtime.text import nearest
from wsss.settings.faults import ConfigError
from wsss.settings.kinds import PROPOSALS
from wsss.settings.recipes import VARIANTS, for_method, for_variant
from wsss.settings.sections import NAME, Config
from wsss.settings.segment import shares_backbone
from wsss.settings.values import validate

RECIPE_SECTIONS = ("backbone", "saliency", "seeds", "pseudo", "segment", "instances")
RESERVED = ("full", "dataset", "saliency", "proposals", "metrics", "report", "logs", "benchmarks")
"""Folder names of results/{run} that no method may take."""


def cross_faults(config: Config) -> list[str]:
    """Every fault, once. Later checks need what earlier ones check, so they wait until those find nothing."""
    if faults := [*_recipe_faults(config), *_custom_faults(config), *_list_faults(config)]:
        return faults
    for name in config.recipes:
        for_method(config, name)
    if faults := [fault for m in config.methods for fault in _method_faults(config, m)]:
        return list(dict.fromkeys(faults))
    return list(dict.fromkeys(fault for m in config.segment.methods for fault in _segmenter_faults(config, m)))


def _list_faults(config: Config) -> Iterator[str]:
    """Names in lists that nothing is called, or that are there twice."""
    methods, segment = config.methods, config.segment
    known = [*FACTS, *config.recipes]
    yield from (f"methods: {m!r} is no method and no recipe; {nearest(m, known)}" for m in methods if m not in known)
    for key, names in (("segment.methods", segment.methods), ("instances.methods", config.instances.methods)):
        for m in (m for m in names if m not in methods):
            yield f"{key}: {m!r} is not among methods {methods}; {nearest(m, methods)}"
    known = [*VARIANTS, *segment.recipes]
    yield from (f"segment.variants: {v!r} is unknown; {nearest(v, known)}" for v in segment.variants if v not in known)
    for key, names in (("methods", methods), ("segment.variants", segment.variants)):
        yield from (f"{key}: {n!r} is listed twice" for n in sorted({n for n in names if names.count(n) > 1}))


def _recipe_faults(config: Config) -> Iterator[str]:
    """What recipes may not be called, be, or change."""
    for name, recipe in config.recipes.items():
        where, kind = f"recipes.{name}", recipe.get("kind", name)
        if kind not in FACTS:
            found = f"{where}.kind: {kind!r} is no method" if "kind" in recipe else f"{where}: its kind is missing"
            yield f"{found}; {nearest(str(kind), list(FACTS))}"
        elif kind != name in FACTS:
            yield f"{where}.kind: {kind!r} under the name of another method; choose another name"
        sections = ", ".join(RECIPE_SECTIONS)
        for key in recipe:
            if key != "kind" and key not in RECIPE_SECTIONS:
                yield f"{where}.{key}: a recipe may change {sections} only"
        # the maps and proposals of a kind are made once, for every method
        yield from _only_kind(f"{where}.saliency", recipe.get("saliency"), "saliency")
        instances = recipe.get("instances")
        given = instances.get("proposals") if isinstance(instances, Mapping) else None
        yield from _only_kind(f"{where}.instances.proposals", given, "instances")
        if name in RESERVED:
            yield f"{where}: the name is taken by a folder of the results; choose another"
    for name in [*config.recipes, *config.segment.recipes]:
        if not re.fullmatch(NAME, name) or name.endswith("\n") or len(name) > MOST_RUN_NAME:
            shown = repr(name)[1:-1][:80]
            yield f"recipes.{shown}: names are lower-case letters, digits and _, at most {MOST_RUN_NAME}"


def _only_kind(where: str, given: Any, section: str) -> Iterator[str]:
    """Keys but `kind` of a subsection that recipes share."""
    for key in given if isinstance(given, Mapping) else ():
        if key != "kind":
            allowed = f"{where.split('.')[-1]}.kind"
            yield f"{where}.{key}: a recipe may change {allowed} only; the rest goes into the section {section}"


def _custom_faults(config: Config) -> Iterator[str]:
    """Settings of methods that are not installed, or that a method's own section refuses."""
    of_recipes = (r["seeds"].get("custom") for r in config.recipes.values() if isinstance(r.get("seeds"), dict))
    for custom in (config.seeds.custom, *of_recipes):
        for kind, given in custom.items() if isinstance(custom, Mapping) else ():
            if kind not in FACTS:
                yield f"seeds.custom.{kind}: {kind!r} is no installed method; {nearest(kind, list(FACTS))}"
            elif FACTS[kind].settings is not None and isinstance(given, Mapping):
                try:
                    validate(FACTS[kind].settings, given, where=f"seeds.custom.{kind}")
                except ConfigError as error:
                    yield from (line.strip() for line in str(error).splitlines()[1:])


def _method_faults(config: Config, method: str) -> Iterator[str]:
    """Cues that a method reads and does not get, and weights that do not fit its rounds."""
    kind, resolved = for_method(config, method)
    facts, seed, saliency = FACTS[kind], resolved.pseudo.seed, resolved.saliency.kind
    if seed.cue == "saliency" and saliency == "none":
        yield (
            "pseudo.seed.cue is 'saliency' but saliency.kind is 'none':"
            " choose a kind, or pseudo.seed: {kind: scores, cue: constant}"
        )
    if seed.kind == "regions" and seed.cue != "saliency":
        yield (
            "pseudo.seed: kind 'regions' needs cue 'saliency' to name background pixels;"
            f" use kind 'scores' with cue '{seed.cue}'"
        )
    if seed.cue == "network" and not facts.background:
        able = ", ".join(k for k, f in FACTS.items() if f.background)
        yield (
            f"pseudo.seed.cue is 'network' but {method} has no background map of its own:"
            f" give the cue in a recipe of {able}"
        )
    if "saliency" in facts.needs and saliency == "none":
        yield f"methods: {method} learns from saliency, but saliency.kind is 'none': choose barrier, u2net or folder"
    if method in config.instances.methods:
        yield from _instance_faults(kind, method, resolved)
    rounds, weights = resolved.seeds.rounds, resolved.seeds.fuse.weights
    count = facts.length if not facts.rounds else rounds.count if rounds.mode == "fixed" else len(weights)
    if weights and len(weights) != count:
        yield (
            f"seeds.fuse.weights has {len(weights)} weights, but {method} has {count} rounds:"
            " give one a round, in a recipe where methods differ"
        )


def _instance_faults(kind: str, method: str, resolved: Config) -> Iterator[str]:
    """What the route from peaks to instances needs of a method."""
    own = resolved.instances
    if own.route != "proposals":
        return
    if not FACTS[kind].responds:
        able = ", ".join(k for k, f in FACTS.items() if f.responds)
        yield (
            f"instances.methods: {method} has no peaks for the route proposals;"
            f" give it instances.route: components in a recipe, or use {able}"
        )
    if own.retrieval.background == "saliency" and resolved.saliency.kind == "none":
        yield (
            "instances.retrieval.background is 'saliency' but saliency.kind is 'none':"
            " choose barrier, u2net or folder, or background: map"
        )
    proposals = own.proposals
    if (key := PROPOSALS[proposals.kind].folder) and not getattr(proposals.own, key):
        where = f"instances.proposals.{proposals.kind}.{key}"
        yield f"{where} is empty: name the folder of the proposals, or choose kind watershed"


def _segmenter_faults(config: Config, method: str) -> Iterator[str]:
    """Segmenters that cannot start from the classifier's backbone."""
    resolved = for_method(config, method)[1]
    backbone = resolved.backbone.name
    for variant in config.segment.variants:
        segment = for_variant(resolved.segment, variant)
        if segment.start == "classifier" and not shares_backbone(segment.network, backbone):
            yield (
                f"segment.start is 'classifier', but the network {segment.network} of {variant} is not built on the"
                f" classifier's backbone {backbone}; use pretrained"
            )
