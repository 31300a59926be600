"""The papers' claims on the embedded scenes: `make claims`.

Runs the workflow with configs/claims.yaml for three model seeds and a second generator seed, then compares within each run (paired).
A claim holds if its gain is positive (erasing's first: at least 3 points) for every model seed. Writes results/claims.md and prints it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parent.parent
RUNS = [(0, 0), (1, 0), (2, 0), (0, 1)]
"""(model seed, generator seed)."""


def run_workflow(seed: int, generator: int, *, cores: str, extra: list[str]) -> Path:
    """Run (or resume) one seed; the path of its metrics.csv."""
    name = f"claims-s{seed}-g{generator}"
    overlay = ROOT / "results" / f"{name}.yaml"
    overlay.parent.mkdir(exist_ok=True)
    overlay.write_text(json.dumps({"run": name, "seed": seed, "dataset": {"scenes": {"generator_seed": generator}}}))
    command = ["snakemake", "--cores", cores, "--configfile", "configs/claims.yaml", *extra, str(overlay), "--quiet", "all"]
    subprocess.run(command, cwd=ROOT, check=True)
    return ROOT / "results" / name / "metrics.csv"


def value(table: pd.DataFrame, metric: str, **where: object) -> float:
    """The one number that the conditions pick out."""
    picked = table[(table["metric"] == metric) & table["class"].isna()]
    for column, wanted in where.items():
        picked = picked[picked[column] == wanted]
    if len(picked) != 1:
        sys.exit(f"error: {len(picked)} rows for {metric} {where}, expected 1")
    return float(picked["value"].iloc[0])


def curve(table: pd.DataFrame, metric: str, **where: object) -> pd.Series:
    """A metric by threshold."""
    picked = table[(table["metric"] == metric) & table["class"].isna()]
    for column, wanted in where.items():
        picked = picked[picked[column] == wanted]
    return picked.set_index("threshold")["value"].sort_index()


def recall_gain(table: pd.DataFrame) -> float:
    """Best recall of erasing's fused scores at no less than the precision of CAM at its best threshold, minus CAM's recall there."""
    cam = {"method": "cam", "stage": "scores"}
    best = table[(table["metric"] == "miou_best") & (table["method"] == "cam") & (table["stage"] == "scores") & table["class"].isna()]["threshold"].iloc[0]
    precision, recall = (curve(table, m, **cam)[best] for m in ("precision", "recall"))
    fused = {"method": "erasing", "stage": "fused"}
    allowed = curve(table, "precision", **fused) >= precision
    reachable = curve(table, "recall", **fused)[allowed]
    return (float(reachable.max()) if len(reachable) else 0.0) - recall


def predicted(table: pd.DataFrame, variant: str, cycle: int, split: str) -> float:
    """mIoU of a segmenter."""
    return value(table, "miou", method="erasing", stage="prediction", variant=variant, cycle=cycle, split=split)


CLAIMS: dict[str, tuple[float, Callable[[pd.DataFrame], float]]] = {
    "erasing fused beats CAM scores (miou_best, at least 3 points)": (
        0.03,
        lambda t: value(t, "miou_best", method="erasing", stage="fused") - value(t, "miou_best", method="cam", stage="scores"),
    ),
    "erasing fused beats CAM in recall at CAM's best-point precision": (0.0, recall_gain),
    "erasing seed masks beat CAM's at the same threshold (miou)": (
        0.0,
        lambda t: value(t, "miou", method="erasing", stage="seed") - value(t, "miou", method="cam", stage="seed"),
    ),
    "erasing seed masks beat CAM's at CAM's best threshold (miou)": (
        0.0,
        lambda t: value(t, "miou", method="erasing", stage="seed") - value(t, "miou", method="cam_40", stage="seed"),
    ),
    "3 rounds beat 2 (fused miou_best)": (
        0.0,
        lambda t: value(t, "miou_best", method="erasing", stage="fused") - value(t, "miou_best", method="erasing_2", stage="fused"),
    ),
    "round 4 turns: 3 rounds beat 4 (fused miou_best)": (
        0.0,
        lambda t: value(t, "miou_best", method="erasing", stage="fused") - value(t, "miou_best", method="erasing_4", stage="fused"),
    ),
    "psl beats plain (val miou, cycle 0)": (0.0, lambda t: predicted(t, "psl", 0, "val") - predicted(t, "plain", 0, "val")),
    "psl++ beats psl (val miou, cycle 1 over cycle 0)": (0.0, lambda t: predicted(t, "psl", 1, "val") - predicted(t, "psl", 0, "val")),
    "final prediction on train beats its seeds (miou)": (0.0, lambda t: predicted(t, "psl", 1, "train") - value(t, "miou", method="erasing", stage="seed")),
    "final prediction on train beats the pseudo masks of cycle 0 (miou)": (
        0.0,
        lambda t: predicted(t, "psl", 1, "train") - value(t, "miou", method="erasing", stage="pseudo", cycle=0),
    ),
    "final prediction on train beats the pseudo masks of cycle 1, which know the tags (miou)": (
        0.0,
        lambda t: predicted(t, "psl", 1, "train") - value(t, "miou", method="erasing", stage="pseudo", cycle=1),
    ),
    "final masks on train, tags known and CRF as for any pseudo mask, beat the pseudo masks of cycle 1 (miou)": (
        0.0,
        lambda t: value(t, "miou", method="erasing", stage="pseudo", cycle=2) - value(t, "miou", method="erasing", stage="pseudo", cycle=1),
    ),
}


def table_of(tables: dict[tuple[int, int], pd.DataFrame]) -> str:
    """The claims as a Markdown table, gains in points."""
    head = [f"seed {s}" + (f", scenes {g}" if g else "") for s, g in tables]
    levels = pd.concat([_levels(t) for t in tables.values()], axis=1)
    lines = ["| claim | " + " | ".join(head) + " | mean ± sd | holds |", "|---|" + "---|" * (len(head) + 2)]
    for name, (least, gain) in CLAIMS.items():
        gains = pd.Series([gain(t) * 100 for t in tables.values()])
        seeds = [v for (_, g), v in zip(tables, gains, strict=True) if g == 0]
        holds = "yes" if all(v > 0 for v in seeds) and sum(seeds) / len(seeds) >= least * 100 else "no"
        lines.append(f"| {name} | " + " | ".join(f"{v:+.1f}" for v in gains) + f" | {gains.mean():+.1f} ± {gains.std(ddof=0):.1f} | {holds} |")
    lines += ["", "| figure, points | " + " | ".join(head) + " |", "|---|" + "---|" * len(head)]
    lines += [f"| {name} | " + " | ".join(f"{100 * v:.1f}" for v in row) + " |" for name, row in zip(levels.index, levels.to_numpy(), strict=True)]
    return "\n".join(lines) + "\n"


def _levels(table: pd.DataFrame) -> pd.Series:
    """The figures that the claims compare, as they stand."""
    best = {f"{m}, best constant threshold": value(table, "miou_best", method=m, stage="fused") for m in ("cam", "erasing_2", "erasing", "erasing_4")}
    seeds = {f"{m}, seed masks": value(table, "miou", method=m, stage="seed") for m in ("cam", "cam_40", "erasing")}
    named = {1: "pseudo masks of cycle 1", 2: "final masks, exported"}
    pseudo = {f"erasing, {name}": value(table, "miou", method="erasing", stage="pseudo", cycle=cycle) for cycle, name in named.items()}
    trained = {
        f"{variant}, cycle {cycle}, {split}": predicted(table, variant, cycle, split)
        for variant, cycle in (("plain", 0), ("psl", 0), ("psl", 1))
        for split in ("train", "val")
    }
    return pd.Series(best | seeds | pseudo | trained)


def main() -> None:
    """Run what is missing, then print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=len(RUNS), help="only the first so many of (seed, generator) " + str(RUNS))
    parser.add_argument("--cores", default="all")
    parser.add_argument("--configfile", nargs="*", default=[], help="further overlays")
    arguments = parser.parse_args()
    tables = {run: pd.read_csv(run_workflow(*run, cores=arguments.cores, extra=arguments.configfile)) for run in RUNS[: arguments.runs]}
    text = table_of(tables)
    (ROOT / "results" / "claims.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
