"""Load and check the configuration (no torch).

`load` is given the mapping Snakemake has merged, or files; it returns a frozen `Config` or raises one `ConfigError` that names every wrong key,
what was found and what is legal. `for_method` and `for_variant` lay recipes over it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from wsss.files.limits import MOST_RUN_NAME, check_plain, regular
from wsss.methods import FACTS
from wsss.runtime.text import nearest, short
from wsss.settings.kinds import PROPOSALS
from wsss.settings.sections import NAME, Config, SegmentSection
from wsss.settings.segment import shares_backbone
from wsss.settings.yaml_checks import check_keys

M = TypeVar("M", bound=BaseModel)
LISTED = 20
"""Faults that are named; the rest is a number."""
RECIPE_SECTIONS = ("backbone", "saliency", "seeds", "pseudo", "segment", "instances")
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {"psl": {"enabled": False}, "cycles": 1},
    "psl": {"psl": {"enabled": True}},
}
"""Built-in variants; plain is the paper's "w/o PSL" and has one cycle unless segment.recipes says otherwise."""
RENAMED = {"dataset.folder.tags": "labels"}
"""Keys of earlier versions, and their names now."""
RESERVED = ("full", "dataset", "saliency", "proposals", "metrics", "report", "logs", "benchmarks")
"""Folder names of results/{run} that no method may take."""


class ConfigError(ValueError):
    """A configuration that cannot be run; the message lists every fault."""


def load(*sources: Mapping[str, Any] | Path) -> Config:
    """Lay `sources` over each other and check the result.

    Args:
        sources: Mappings or YAML files, later ones win; mappings merge deeply, lists are replaced whole.

    Returns:
        The checked configuration.

    Raises:
        ConfigError: For unknown keys, wrong types, values out of range, and names that do not fit together.
    """
    merged: dict[str, Any] = {}
    for source in sources:
        merged = merge(merged, read_yaml(source) if isinstance(source, Path) else source)
    config = validate(Config, merged)
    faults = _cross_faults(config)
    if faults:
        raise _refused(faults)
    return config


def read_yaml(path: Path) -> dict[str, Any]:
    """One YAML mapping, safely loaded.

    Raises:
        ConfigError: If the file is missing, no YAML, or no mapping, or says a key twice.
    """
    try:
        if not path.is_fifo():  # a pipe may be given by the shell: @<(command)
            regular(path)
        text = path.read_text(encoding="utf-8")
        check_keys(text)
        value = yaml.safe_load(text)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration file") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    except (ValueError, RecursionError) as error:  # not UTF-8, a key twice, numbers of many digits
        raise ConfigError(f"{path}: cannot be read: {str(error)[:200]}") from None
    if value is not None and not isinstance(value, dict):
        raise ConfigError(f"{path}: expected a mapping of sections, found {type(value).__name__}")
    return value or {}


def refuse_double_keys(path: Path) -> None:
    """Look through a configuration file that Snakemake has loaded: it takes the last of keys that are there twice.

    Raises:
        ConfigError: If there is one.
    """
    try:
        text = path.read_text(encoding="utf-8")
        check_keys("" if "__use_yte__" in text else text)  # of YTE's templates the same condition may be a key twice
    except yaml.YAMLError:
        pass  # JSON that is no YAML, e.g. with tabs
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid over `base`: mappings deeply, everything else replaced. Neither is changed."""
    out = dict(base)
    for key, value in over.items():
        old = out.get(key)
        out[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return out


def validate(model: type[M], values: Mapping[str, Any], *, where: str = "") -> M:
    """`values` as `model`, every fault in one ConfigError; strict types (no "0.3" for 0.3), but 1 is taken for 1.0."""
    try:
        check_plain(values)
        return model.model_validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        faults = [_explain(model, where, e) for e in error.errors()]
    except ValueError as error:
        faults = [f"{where}{'.' if where else ''}{error}"]
    raise _refused(faults)


def settings(model: type[M], text: str) -> M:
    """Stage settings from JSON text, or from `@file.yaml`; absent keys take their defaults."""
    if text.startswith("@"):
        return validate(model, read_yaml(Path(text[1:])), where="--settings")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"--settings: not valid JSON ({str(error)[:200]}); give JSON text or @FILE.yaml") from None
    return validate(model, values, where="--settings")


def for_method(config: Config, method: str) -> tuple[str, Config]:
    """The kind of `method` and the configuration with its recipe laid over it."""
    recipe = dict(config.recipes.get(method, {}))
    kind = recipe.pop("kind", method)
    return kind, validate(Config, merge(config.model_dump(mode="json"), recipe), where=f"recipes.{method}")


def for_variant(segment: SegmentSection, variant: str) -> SegmentSection:
    """The segment section with the variant's settings laid over it."""
    over = merge(VARIANTS.get(variant, {}), segment.recipes.get(variant, {}))
    return validate(SegmentSection, merge(segment.model_dump(mode="json"), over), where=f"segment.recipes.{variant}")


# ---------------------------------------------------------------- faults


def _refused(faults: list[str]) -> ConfigError:
    """The first faults, and how many more there are."""
    lines = [f"  {fault if len(fault) <= 600 else fault[:400] + ' [...] ' + fault[-200:]}" for fault in faults[:LISTED]]
    more = [f"  ... and {len(faults) - LISTED} more"] if len(faults) > LISTED else []
    return ConfigError("\n".join(["configuration refused:", *lines, *more]))


def _cross_faults(config: Config) -> list[str]:
    """Names that do not fit together."""
    faults, known = _recipe_faults(config), [*FACTS, *config.recipes]
    faults += [
        f"methods: {m!r} is no method and no recipe; {nearest(m, known)}" for m in config.methods if m not in known
    ]
    for key, names in (("segment.methods", config.segment.methods), ("instances.methods", config.instances.methods)):
        faults += [
            f"{key}: {m!r} is not among methods {config.methods}; {nearest(m, config.methods)}"
            for m in names
            if m not in config.methods
        ]
    known = [*VARIANTS, *config.segment.recipes]
    faults += [
        f"segment.variants: {v!r} is unknown; {nearest(v, known)}" for v in config.segment.variants if v not in known
    ]
    for key, names in (("methods", config.methods), ("segment.variants", config.segment.variants)):
        faults += [f"{key}: {n!r} is listed twice" for n in sorted({n for n in names if names.count(n) > 1})]
    if faults:
        return faults
    for name in config.recipes:
        for_method(config, name)
    faults += list(dict.fromkeys(f for m in config.methods for f in _method_faults(config, m)))
    if faults:
        return faults
    for method in config.segment.methods:
        resolved = for_method(config, method)[1]
        for variant in config.segment.variants:
            segment = for_variant(resolved.segment, variant)
            name = resolved.backbone.name
            if segment.start == "classifier" and not shares_backbone(segment.network, name):
                found = f"the network {segment.network} of {variant} is not built on the classifier's backbone {name}"
                faults.append(f"segment.start is 'classifier', but {found}; use pretrained")
    return list(dict.fromkeys(faults))


def _recipe_faults(config: Config) -> list[str]:
    """What recipes may not be called, be, or change, and settings of methods that are not installed."""
    faults = []
    for name, recipe in config.recipes.items():
        kind = recipe.get("kind", name)
        if kind not in FACTS:
            found = (
                f"recipes.{name}.kind: {kind!r} is no method"
                if "kind" in recipe
                else f"recipes.{name}: its kind is missing"
            )
            faults.append(f"{found}; {nearest(str(kind), list(FACTS))}")
        elif kind != name in FACTS:
            faults.append(f"recipes.{name}.kind: {kind!r} under the name of another method; choose another name")
        faults += [
            f"recipes.{name}.{key}: a recipe may change {', '.join(RECIPE_SECTIONS)} only"
            for key in recipe
            if key != "kind" and key not in RECIPE_SECTIONS
        ]
        if isinstance(saliency := recipe.get("saliency"), dict):  # a kind's maps are made once, for every method
            faults += [
                f"recipes.{name}.saliency.{key}: a recipe may change saliency.kind only; the rest goes into the section saliency"
                for key in saliency
                if key != "kind"
            ]
        if isinstance(instances := recipe.get("instances"), dict) and isinstance(
            proposals := instances.get("proposals"), dict
        ):
            faults += [
                f"recipes.{name}.instances.proposals.{key}: a recipe may change proposals.kind only; the rest goes into the section instances"
                for key in proposals
                if key != "kind"
            ]
    given = [
        config.seeds.custom,
        *(r["seeds"].get("custom", {}) for r in config.recipes.values() if isinstance(r.get("seeds"), dict)),
    ]
    faults += [
        f"seeds.custom.{k}: {k!r} is no installed method; {nearest(k, list(FACTS))}"
        for custom in given
        if isinstance(custom, dict)
        for k in custom
        if k not in FACTS
    ]
    faults += [
        f"recipes.{n}: the name is taken by a folder of the results; choose another"
        for n in config.recipes
        if n in RESERVED
    ]
    faults += [
        f"recipes.{repr(n)[1:-1][:80]}: names are lower-case letters, digits and _, at most {MOST_RUN_NAME}"
        for n in [*config.recipes, *config.segment.recipes]
        if not re.fullmatch(NAME, n) or n.endswith("\n") or len(n) > MOST_RUN_NAME
    ]
    return faults


def _method_faults(config: Config, method: str) -> list[str]:
    """Cues that a method reads and does not get, and weights that do not fit its rounds."""
    kind, resolved = for_method(config, method)
    seed, saliency = resolved.pseudo.seed, resolved.saliency.kind
    faults = []
    if seed.cue == "saliency" and saliency == "none":
        faults.append(
            "pseudo.seed.cue is 'saliency' but saliency.kind is 'none': choose a kind, or pseudo.seed: {kind: scores, cue: constant}"
        )
    if seed.kind == "regions" and seed.cue != "saliency":
        faults.append(
            f"pseudo.seed: kind 'regions' needs cue 'saliency' to name background pixels; use kind 'scores' with cue '{seed.cue}'"
        )
    if seed.cue == "network" and not FACTS[kind].background:
        able = ", ".join(k for k, f in FACTS.items() if f.background)
        faults.append(
            f"pseudo.seed.cue is 'network' but {method} has no background map of its own: give the cue in a recipe of {able}"
        )
    if "saliency" in FACTS[kind].needs and saliency == "none":
        faults.append(
            f"methods: {method} learns from saliency, but saliency.kind is 'none': choose barrier, u2net or folder"
        )
    own = resolved.instances
    if method in config.instances.methods and own.route == "proposals":
        if not FACTS[kind].responds:
            able = ", ".join(k for k, f in FACTS.items() if f.responds)
            faults.append(
                f"instances.methods: {method} has no peaks for the route proposals; give it instances.route: components in a recipe, or use {able}"
            )
        if own.retrieval.background == "saliency" and saliency == "none":
            faults.append(
                "instances.retrieval.background is 'saliency' but saliency.kind is 'none': choose barrier, u2net or folder, or background: map"
            )
        proposals = own.proposals
        if (key := PROPOSALS[proposals.kind].folder) and not getattr(proposals.own, key):
            faults.append(
                f"instances.proposals.{proposals.kind}.{key} is empty: name the folder of the proposals, "
                "or choose kind watershed"
            )
    rounds, weights = resolved.seeds.rounds, resolved.seeds.fuse.weights
    count = FACTS[kind].length if not FACTS[kind].rounds else rounds.count if rounds.mode == "fixed" else len(weights)
    if weights and len(weights) != count:
        faults.append(
            f"seeds.fuse.weights has {len(weights)} weights, but {method} has {count} rounds: give one a round, in a recipe where methods differ"
        )
    return faults


def _explain(model: type[BaseModel], where: str, error: Any) -> str:
    """One pydantic error as 'key: found …, expected …'."""
    path = [str(p) for p in error["loc"]]
    key = ".".join([where, *path] if where else path) or where or "configuration"
    if error["type"] == "extra_forbidden":
        if key in RENAMED:
            return f"{key}: this key is now `{RENAMED[key]}`; rename it"
        return f"{key}: unknown key; {nearest(path[-1], _keys_at(model, path[:-1]))}"
    message = error["msg"].removeprefix("Value error, ")
    found = "" if isinstance(error["input"], dict) else f"found {short(error['input'])}; "
    return f"{key}: {found}{message[0].lower() + message[1:]}{_number_hint(error['input'])}"


def _number_hint(value: Any) -> str:
    """What YAML wants of a number that it has read as text, as it does 1e-5."""
    try:
        float(value if isinstance(value, str) else "")
    except ValueError:
        return ""
    return "; YAML reads it as text: leave out quotes, and write a dot before an exponent (1.0e-5)"


def _keys_at(model: type[BaseModel], path: list[str]) -> list[str]:
    """Known keys of the section at `path`."""
    for part in path:
        field = model.model_fields.get(part)
        if field is None or not isinstance(field.annotation, type) or not issubclass(field.annotation, BaseModel):
            return []
        model = field.annotation
    return list(model.model_fields)
