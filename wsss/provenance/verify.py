"""`wsss verify`: are a run's files what their records say, and do they still fit together (no torch)?"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsss.files.errors import ArtefactError
from wsss.files.provenance_files import find_records, mixtures, stale_inputs
from wsss.provenance.catalogue import Product, catalogue, rounds_of_run
from wsss.provenance.data_checks import data_faults
from wsss.provenance.file_checks import check_leftovers, check_presence, check_products
from wsss.provenance.run_state import AGAIN, HINT, Finding, RunState, read_run
from wsss.settings.config import load
from wsss.settings.kinds import dataset_kinds, load_class
from wsss.settings.sections import Config
from wsss.settings.stage_settings import PlanSettings

SHOWN = 3
"""Differing settings that one line names."""
MACHINE = ("precision", "threads")
"""Settings of `compute` that change results."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """All findings, and what was checked, in words."""

    findings: list[Finding]
    checked: str

    @property
    def faults(self) -> int:
        """Number of findings that are no warnings."""
        return sum(not f.warning for f in self.findings)

    def __str__(self) -> str:
        warnings = len(self.findings) - self.faults
        end = (
            f"{self.faults} fault{'s' * (self.faults != 1)}, {warnings} warning{'s' * (warnings != 1)}: {self.checked}"
        )
        hint = [HINT] if any(AGAIN in f.remedy for f in self.findings) else []
        return "\n".join([*map(str, self.findings), *hint, end])


def verify(run: Path, overlays: list[Path], *, images: bool) -> Verdict:
    """Check every file of a run against its record, its inputs and the configuration.

    Args:
        run: Folder results/{run}, or the run's name.
        overlays: Configuration files laid over config.yaml, to compare settings with; none: the settings that
            metrics.csv was made with.
        images: Read every image again and compare it with the index.

    Returns:
        The findings.

    Raises:
        ArtefactError: If there is no such run, or the configuration is of another one.
        ConfigError: If the configuration is refused.
    """
    state = read_run(find_run(run))
    given = configuration(state.records, overlays, run=state.folder)
    expected = {} if isinstance(given, str) else catalogue(given[0], rounds=given[1])
    check_presence(state, expected)
    check_products(state)
    _check_inputs(state)
    _check_settings(state, expected)
    check_leftovers(state, expected)
    remedy = f"put it back as it was; or, if it is meant to be so, {state.remade('dataset/index.csv')}"
    found = data_faults(state.folder, state.records.get("dataset/index.csv"), images=images)
    state.findings += [Finding(file=file, text=text, remedy=remedy) for file, text in found]
    _check_mixtures(state)
    checked = f"{len(state.records)} records, {len(state.digests)} files digested in {state.folder}"
    if not images:
        checked += ", images not read"
    if isinstance(given, str):
        checked += f"; settings not compared: {given}"
    return Verdict(findings=state.findings, checked=checked)


def find_run(run: Path) -> Path:
    """The folder of a run, given as a folder or by its name.

    Raises:
        ArtefactError: If there is none.
    """
    for folder in (run, Path("results") / run):
        if (folder / "dataset").is_dir() or (folder.is_dir() and find_records(folder)):
            return folder
    there = ", ".join(sorted(p.name for p in Path("results").glob("*") if p.is_dir())) or "none"
    raise ArtefactError(f"{run}: no run of this package; give its folder or its name (in results/ there are: {there})")


def configuration(
    records: Mapping[str, Mapping[str, Any]], overlays: list[Path], *, run: Path
) -> tuple[Config, dict[str, int]] | str:
    """The configuration to compare with and its rounds, from `overlays` or else metrics.csv; or why there is none."""
    if overlays:
        config = load(*([Path("config.yaml")] if Path("config.yaml").exists() else []), *overlays)
        if config.run != run.resolve().name:
            found = f"found run {config.run!r}, expected {run.resolve().name!r}, the run to verify"
            raise ArtefactError(f"{overlays[-1]}: {found}; name its own configuration files")
        return config, rounds_of_run(config, run=run)
    made = records.get("metrics.csv")
    if made is None:
        return "there is no metrics.csv yet, and no configuration was named"
    try:
        plan = PlanSettings.model_validate_json(json.dumps(made["settings"]["settings"]))
    except (ValueError, KeyError):
        return "metrics.csv was made with settings that this version does not know; name the run's configuration files"
    return plan.config, plan.rounds


def _check_inputs(state: RunState) -> None:
    """Report products whose inputs have changed since, and count what was made from them."""
    stale: dict[str, list[str]] = defaultdict(list)
    for output, path in stale_inputs(state.records):
        stale[output].append(f"made from an earlier {path}")
    covered = {p["path"] for r in state.records.values() for p in r["products"]}
    for output, record in state.records.items():
        for entry in (e for entries in record["inputs"].values() for e in entries if e["path"] not in covered):
            if _read_again(record) and entry in record["inputs"].get("settings", []):
                continue  # rows may be in another order: data_faults reads them
            found = state.digests.get(entry["path"])
            if found != entry["digest"]:
                change = "is gone" if found is None else "has changed since it was read"
                stale[output].append(f"{entry['path']} {change}")
    for output, reasons in stale.items():
        more = f" and {len(reasons) - SHOWN} more" if len(reasons) > SHOWN else ""
        text = f"stale: {', '.join(reasons[:SHOWN])}{more}{_followers(state, output)}"
        state.fault(output, text, state.remade(output))


def _read_again(record: Mapping[str, Any]) -> bool:
    """Whether the record is of a data set whose labels `data_faults` reads again."""
    if record["stage"] != "index_images":
        return False
    place = dataset_kinds().get(record["settings"].get("settings", {}).get("dataset", {}).get("kind", ""))
    return place is not None and not load_class(place).written


def _followers(state: RunState, output: str) -> str:
    """ " (N products follow from it)": all that was made from a stage's products, directly or not; "" if nothing."""
    after: dict[str, set[str]] = defaultdict(set)
    for name, record in state.records.items():
        for entry in (e for entries in record["inputs"].values() for e in entries):
            after[entry["path"]].add(name)
    seen: set[str] = set()
    queue = [output]
    while queue:
        new = {n for p in state.records[queue.pop()]["products"] for n in after[p["path"]]} - seen
        seen |= new
        queue += new
    return f" ({len(seen - {output})} products follow from it)" if seen - {output} else ""


def _check_settings(state: RunState, expected: Mapping[str, Product]) -> None:
    """Report products made with other settings or other code than now. Code is reported once for each stage."""
    other_code: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for output, record in state.records.items():
        if (product := expected.get(output)) is None:
            continue
        found = {k: v for k, v in record["settings"].items() if k in product.settings}
        if "compute" in found:
            found["compute"] = {k: v for k, v in found["compute"].items() if k in MACHINE}
        old, new = dict(_leaves(found)), dict(_leaves(product.settings))
        changed = [k for k in {**old, **new} if old.get(k) != new.get(k)]
        differ = [f"{k} {json.dumps(old.get(k))}, expected {json.dumps(new.get(k))}" for k in changed]
        if differ:
            more = f" and {len(differ) - SHOWN} more" if len(differ) > SHOWN else ""
            state.fault(output, f"other settings: found {'; found '.join(differ[:SHOWN])}{more}", state.remade(output))
        if record["code"] != product.code:
            other_code[record["stage"], record["code"], product.code].append(output)
    for (stage, found_code, code), outputs in other_code.items():
        more = f" (and {len(outputs) - 1} more of this stage)" if len(outputs) > 1 else ""
        state.fault(outputs[0], f"other code: found {found_code}, expected {code} of {stage} as it is now{more}", AGAIN)


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """("settings.claim.rel_threshold", 0.5) of every value that is no mapping."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _check_mixtures(state: RunState) -> None:
    """Warn of versions and devices that differ within the run."""
    for what, values in mixtures(state.records).items():
        counts = Counter({value: len(outputs) for value, outputs in values.items()}).most_common()
        made = (f"{value} made {n} product{'s' * (n > 1)} (e.g. {values[value][0]})" for value, n in counts)
        text = f"more than one {what} in one run: {', '.join(made)}"
        state.findings.append(Finding(file=str(state.folder), text=text, warning=True))
