"""`wsss verify`: whether a run's files are what their provenance records say, and what no longer fits together (no torch)."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsss.files.errors import ArtefactError
from wsss.provenance.catalogue import Product, catalogue, rounds_used
from wsss.provenance.data_checks import data_faults
from wsss.provenance.file_checks import check_leftovers, check_presence, check_products
from wsss.provenance.records import find_records, mixtures, stale_inputs
from wsss.provenance.state_checks import AGAIN, HINT, Finding, RunState, read_run
from wsss.settings.config import load
from wsss.settings.sections import Config
from wsss.settings.stage_settings import PlanSettings

SHOWN = 3
"""Differing settings that one line names."""
MACHINE = ("precision", "threads")
"""What of `compute` changes results."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """All findings, and how much was looked at, in words."""

    findings: list[Finding]
    looked: str

    @property
    def faults(self) -> int:
        """Number of findings that are no warnings."""
        return sum(not f.warning for f in self.findings)

    def __str__(self) -> str:
        warnings = len(self.findings) - self.faults
        end = f"{self.faults} fault{'s' * (self.faults != 1)}, {warnings} warning{'s' * (warnings != 1)}: {self.looked}"
        hint = [HINT] if any(AGAIN in f.mend for f in self.findings) else []
        return "\n".join([*map(str, self.findings), *hint, end])


def verify(run: Path, overlays: list[Path], *, images: bool) -> Verdict:
    """Check every file of a run against its record, its inputs and the configuration.

    Args:
        run: Folder results/{run}, or the run's name.
        overlays: Configuration files laid over config.yaml, to compare settings with; without any, those that metrics.csv was made with.
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
    index, mend = (
        state.records.get("dataset/index.csv"),
        f"put it back as it was; or, if it is meant to be so, {state.remade('dataset/index.csv')}",
    )
    state.findings += [Finding(file=f, text=t, mend=mend) for f, t in data_faults(state.folder, index, images=images)]
    _check_mixtures(state)
    looked = f"{len(state.records)} records, {len(state.digests)} files digested in {state.folder}" + (
        "" if images else ", images not read"
    )
    return Verdict(
        findings=state.findings, looked=looked + (f"; settings not compared: {given}" if isinstance(given, str) else "")
    )


def find_run(run: Path) -> Path:
    """The folder of a run, given as such or by name.

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
    """The configuration to compare with and its rounds, of `overlays` or else of metrics.csv; or why there is none."""
    if overlays:
        config = load(*([Path("config.yaml")] if Path("config.yaml").exists() else []), *overlays)
        if config.run != run.resolve().name:
            raise ArtefactError(
                f"{overlays[-1]}: found run {config.run!r}, expected {run.resolve().name!r}, the run to verify; name its own configuration files"
            )
        return config, rounds_used(config, run=run)
    made = records.get("metrics.csv")
    if made is None:
        return "there is no metrics.csv yet, and no configuration was named"
    try:
        plan = PlanSettings.model_validate_json(json.dumps(made["settings"]["settings"]))
    except (ValueError, KeyError):
        return "metrics.csv was made with settings that this version does not know; name the run's configuration files"
    return plan.config, plan.rounds


def _check_inputs(state: RunState) -> None:
    """Products whose inputs have changed since, and what follows from them."""
    stale: dict[str, list[str]] = defaultdict(list)
    for output, path in stale_inputs(state.records):
        stale[output].append(f"made from an earlier {path}")
    covered = {p["path"] for r in state.records.values() for p in r["products"]}
    for output, record in state.records.items():
        for entry in (e for entries in record["inputs"].values() for e in entries if e["path"] not in covered):
            if _labels_of_folder(record) and entry in record["inputs"].get("settings", []):
                continue  # rows may be in another order: data_faults reads them
            found = state.digests.get(entry["path"])
            if found != entry["digest"]:
                stale[output].append(
                    f"{entry['path']} " + ("is gone" if found is None else "has changed since it was read")
                )
    for output, reasons in stale.items():
        more = f" and {len(reasons) - SHOWN} more" if len(reasons) > SHOWN else ""
        state.fault(
            output, f"stale: {', '.join(reasons[:SHOWN])}{more}{_followers(state, output)}", state.remade(output)
        )


def _labels_of_folder(record: Mapping[str, Any]) -> bool:
    dataset = record["settings"].get("settings", {}).get("dataset", {})
    return record["stage"] == "index_images" and dataset.get("kind") in ("folder", "voc")


def _followers(state: RunState, output: str) -> str:
    """ " (N products follow from it)": everything made from a stage's products, at any distance."""
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
    """Products made with other settings, or by other code, than the configuration and the package have now; code is named once a stage."""
    other_code: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for output, record in state.records.items():
        if (product := expected.get(output)) is None:
            continue
        found = {k: v for k, v in record["settings"].items() if k in product.settings}
        if "compute" in found:
            found["compute"] = {k: v for k, v in found["compute"].items() if k in MACHINE}
        old, new = dict(_leaves(found)), dict(_leaves(product.settings))
        differ = [
            f"{k} {json.dumps(old.get(k))}, expected {json.dumps(new.get(k))}"
            for k in {**old, **new}
            if old.get(k) != new.get(k)
        ]
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
    """Versions and devices that differ within the run."""
    for what, values in mixtures(state.records).items():
        counts = Counter({value: len(outputs) for value, outputs in values.items()}).most_common()
        text = ", ".join(
            f"{value} made {count} product{'s' * (count > 1)} (e.g. {values[value][0]})" for value, count in counts
        )
        state.findings.append(
            Finding(file=str(state.folder), text=f"more than one {what} in one run: {text}", warning=True)
        )
