"""The papers' claims on the embedded scenes: `make claims`.

Runs the workflow with a set's overlay for three model seeds (and the set `aepsl` for a second generator seed),
then compares within each run (paired).
A claim holds if its gain is positive for every model seed, and on average at least what the claim asks for.
Writes results/claims-SET.md and prints it.
The sets of one seed share a folder, so what several of them need is made once.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parent.parent
SEEDS = [(0, 0), (1, 0), (2, 0)]
OTHER_SCENES = (0, 1)
"""(model seed, generator seed)."""


@dataclass(frozen=True, kw_only=True)
class ClaimSet:
    """Claims that one run can show.

    Attributes:
        overlay: The run's configuration.
        claims: Name to (least mean gain, gain of a metrics.csv), both as fractions.
        levels: The figures that the claims compare.
        runs: (model seed, generator seed) of each run.
        target: What Snakemake is asked for.
        tables: Where in the run's folder the figures are, a pattern.
    """

    overlay: str
    claims: Mapping[str, tuple[float, Callable[[pd.DataFrame], float]]]
    levels: Callable[[pd.DataFrame], dict[str, float]]
    runs: list[tuple[int, int]] = field(default_factory=lambda: SEEDS)
    target: str = "all"
    tables: str = "metrics.csv"


def run_workflow(seed: int, generator: int, *, claims: ClaimSet, cores: str, extra: list[str]) -> pd.DataFrame:
    """Run (or resume) one seed; its figures."""
    name = f"claims-s{seed}-g{generator}"
    own = ROOT / "results" / f"{name}.yaml"
    own.parent.mkdir(exist_ok=True)
    own.write_text(json.dumps({"run": name, "seed": seed, "dataset": {"scenes": {"generator_seed": generator}}}))
    command = [
        "snakemake",
        claims.target,
        "--cores",
        cores,
        "--configfile",
        claims.overlay,
        *extra,
        str(own),
        "--quiet",
        "all",
    ]
    subprocess.run(command, cwd=ROOT, check=True)
    tables = sorted((ROOT / "results" / name).glob(claims.tables))
    # read now, before another set of the same seed writes its own
    return pd.concat([pd.read_csv(t) for t in tables], ignore_index=True)


def value(table: pd.DataFrame, metric: str, *, of_class: bool = False, **where: object) -> float:
    """The one number that the conditions pick out; `of_class`: it belongs to a class."""
    picked = table[(table["metric"] == metric) & (table["class"].notna() == of_class)]
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


def at_best(table: pd.DataFrame, metric: str, **where: object) -> float:
    """A metric of score maps at the threshold of their best mIoU."""
    return float(curve(table, metric, **where)[curve(table, "miou_best", **where).index[0]])


def recall_gain(table: pd.DataFrame) -> float:
    """How much more recall erasing's fused scores reach than CAM's at its best threshold, at no less precision."""
    precision, recall = (at_best(table, m, method="cam", stage="scores") for m in ("precision", "recall"))
    fused = {"method": "erasing", "stage": "fused"}
    allowed = curve(table, "precision", **fused) >= precision
    reachable = curve(table, "recall", **fused)[allowed]
    return (float(reachable.max()) if len(reachable) else 0.0) - recall


def predicted(table: pd.DataFrame, variant: str, cycle: int, split: str) -> float:
    """mIoU of a segmenter."""
    return value(table, "miou", method="erasing", stage="prediction", variant=variant, cycle=cycle, split=split)


def seed_masks(table: pd.DataFrame, method: str) -> float:
    """mIoU of a method's seed masks."""
    return value(table, "miou", method=method, stage="seed")


def confused(table: pd.DataFrame, method: str) -> float:
    """Context pixels taken for their class over the class's right pixels, in the seed masks."""
    return value(table, "confusion_ratio", of_class=True, method=method, stage="seed")


AEPSL: dict[str, tuple[float, Callable[[pd.DataFrame], float]]] = {
    "erasing fused beats CAM scores (miou_best, at least 3 points)": (
        0.03,
        lambda t: (
            value(t, "miou_best", method="erasing", stage="fused") - value(t, "miou_best", method="cam", stage="scores")
        ),
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
        lambda t: (
            value(t, "miou_best", method="erasing", stage="fused")
            - value(t, "miou_best", method="erasing_2", stage="fused")
        ),
    ),
    "round 4 turns: 3 rounds beat 4 (fused miou_best)": (
        0.0,
        lambda t: (
            value(t, "miou_best", method="erasing", stage="fused")
            - value(t, "miou_best", method="erasing_4", stage="fused")
        ),
    ),
    "psl beats plain (val miou, cycle 0)": (
        0.0,
        lambda t: predicted(t, "psl", 0, "val") - predicted(t, "plain", 0, "val"),
    ),
    "psl++ beats psl (val miou, cycle 1 over cycle 0)": (
        0.0,
        lambda t: predicted(t, "psl", 1, "val") - predicted(t, "psl", 0, "val"),
    ),
    "final prediction on train beats its seeds (miou)": (
        0.0,
        lambda t: predicted(t, "psl", 1, "train") - value(t, "miou", method="erasing", stage="seed"),
    ),
    "final prediction on train beats the pseudo masks of cycle 0 (miou)": (
        0.0,
        lambda t: predicted(t, "psl", 1, "train") - value(t, "miou", method="erasing", stage="pseudo", cycle=0),
    ),
    "final prediction on train beats the pseudo masks of cycle 1, which know the labels (miou)": (
        0.0,
        lambda t: predicted(t, "psl", 1, "train") - value(t, "miou", method="erasing", stage="pseudo", cycle=1),
    ),
    "final masks on train, labels known and CRF as for any pseudo mask, beat the pseudo masks of cycle 1 (miou)": (
        0.0,
        lambda t: (
            value(t, "miou", method="erasing", stage="pseudo", cycle=2)
            - value(t, "miou", method="erasing", stage="pseudo", cycle=1)
        ),
    ),
}


EPS: dict[str, tuple[float, Callable[[pd.DataFrame], float]]] = {
    "EPS beats CAM with the same saliency (seed masks, truth table, each at its own threshold)": (
        0.0,
        lambda t: seed_masks(t, "eps") - seed_masks(t, "cam_60"),
    ),
    "EPS beats CAM with the same saliency (seed masks, argmax against 1 - saliency)": (
        0.0,
        lambda t: seed_masks(t, "eps_scores") - seed_masks(t, "cam_scores"),
    ),
    "EPS halves the confusion of a class with its context (half of CAM's ratio minus EPS's; truth table)": (
        0.0,
        lambda t: confused(t, "cam_60") / 2 - confused(t, "eps"),
    ),
    "EPS halves the confusion of a class with its context (half of CAM's ratio minus EPS's; argmax)": (
        0.0,
        lambda t: confused(t, "cam_scores") / 2 - confused(t, "eps_scores"),
    ),
    "adaptive selection is no worse than naive (seed masks, truth table)": (
        0.0,
        lambda t: seed_masks(t, "eps") - seed_masks(t, "eps_naive"),
    ),
    "EPS beats CAM without saliency at the end (scores, miou_best)": (
        0.0,
        lambda t: (
            value(t, "miou_best", method="eps", stage="scores") - value(t, "miou_best", method="cam", stage="scores")
        ),
    ),
    "erasing over EPS beats EPS (fused, miou_best)": (
        0.0,
        lambda t: (
            value(t, "miou_best", method="eps_erasing", stage="fused")
            - value(t, "miou_best", method="eps", stage="fused")
        ),
    ),
    "the network's own background beats the constant 0.2 (seed masks)": (
        0.0,
        lambda t: seed_masks(t, "eps_network") - seed_masks(t, "eps_constant"),
    ),
}


def found(table: pd.DataFrame, method: str, threshold: float = 0.5) -> float:
    """mAP^r of a method's instances at an IoU threshold."""
    return value(table, "map_r", method=method, stage="instances", threshold=threshold)


def ahead(method: str, other: str, threshold: float = 0.5) -> tuple[float, Callable[[pd.DataFrame], float]]:
    """The claim that a method's instances are better than another's."""
    return 0.0, lambda t: found(t, method, threshold) - found(t, other, threshold)


BEAT = "peaks with proposals beat connected components of CAM's masks"
PRM: dict[str, tuple[float, Callable[[pd.DataFrame], float]]] = {
    "peak stimulation beats the mean over cells (mAP^r 0.5)": ahead("prm", "prm_mean"),
    f"{BEAT}, both from labels alone (mAP^r 0.5)": ahead("prm", "cam_parts_labels"),
    f"{BEAT} drawn with saliency (mAP^r 0.5)": ahead("prm", "cam_parts"),
    f"{BEAT}, both with saliency (mAP^r 0.5)": ahead("prm_saliency", "cam_parts"),
    f"{BEAT} drawn for them, both with saliency (mAP^r 0.5)": ahead("prm_saliency", "cam_parts_50"),
    f"{BEAT} drawn for them, both with saliency (mAP^r 0.75)": ahead("prm_saliency", "cam_parts_50", 0.75),
    "saliency as background of the retrieval score helps (mAP^r 0.5)": ahead("prm_saliency", "prm"),
    "peaks that split PRM's components beat connected components of CAM's masks drawn with saliency (mAP^r 0.5)": (
        ahead("prm_parts", "cam_parts")
    ),
    "the instance-aware term helps (mAP^r 0.5)": ahead("prm", "prm_no_instance"),
    "the class-aware term helps (mAP^r 0.5)": ahead("prm", "prm_no_class"),
    "the boundary-aware term helps (mAP^r 0.5)": ahead("prm", "prm_no_boundary"),
    "shifted inputs beat signed ones (mAP^r 0.5)": ahead("prm", "prm_signed"),
    "the top-down pass beats the published code's (mAP^r 0.5)": ahead("prm", "prm_published"),
}


def of_round(round: int) -> dict[str, object]:
    """Where the score maps of CAM (1), expansion (2) and shrinkage (3) are."""
    return {"method": "cam" if round == 1 else "esol", "stage": "scores", "round": round}


def esol_round(table: pd.DataFrame, metric: str, round: int) -> float:
    """A metric of a round's score maps, at the round's own best threshold."""
    return (
        value(table, metric, **of_round(round)) if metric == "miou_best" else at_best(table, metric, **of_round(round))
    )


def esol_gain(table: pd.DataFrame, metric: str, *, round: int) -> float:
    """What a round adds to a metric of the one before, both at CAM's best threshold."""
    threshold = curve(table, "miou_best", **of_round(1)).index[0]
    after, before = (curve(table, metric, **of_round(r))[threshold] for r in (round, round - 1))
    return float(after - before)


ESOL: dict[str, tuple[float, Callable[[pd.DataFrame], float]]] = {
    "ESOL-style expansion raises recall over CAM (scores, each at its best threshold)": (
        0.0,
        lambda t: esol_round(t, "recall", 2) - esol_round(t, "recall", 1),
    ),
    "ESOL-style expansion raises recall over CAM (scores, both at CAM's best threshold)": (
        0.0,
        lambda t: esol_gain(t, "recall", round=2),
    ),
    "ESOL-style shrinkage raises precision over expansion (scores, each at its best threshold)": (
        0.0,
        lambda t: esol_round(t, "precision", 3) - esol_round(t, "precision", 2),
    ),
    "ESOL-style shrinkage raises precision over expansion (scores, both at CAM's best threshold)": (
        0.0,
        lambda t: esol_gain(t, "precision", round=3),
    ),
    "ESOL-style, after shrinkage, beats CAM (scores, miou_best)": (
        0.0,
        lambda t: esol_round(t, "miou_best", 3) - esol_round(t, "miou_best", 1),
    ),
}


def aepsl_levels(table: pd.DataFrame) -> dict[str, float]:
    """The figures behind AEPSL."""
    best = {
        f"{m}, best constant threshold": value(table, "miou_best", method=m, stage="fused")
        for m in ("cam", "erasing_2", "erasing", "erasing_4")
    }
    seeds = {f"{m}, seed masks": seed_masks(table, m) for m in ("cam", "cam_40", "erasing")}
    named = {1: "pseudo masks of cycle 1", 2: "final masks, exported"}
    pseudo = {
        f"erasing, {name}": value(table, "miou", method="erasing", stage="pseudo", cycle=cycle)
        for cycle, name in named.items()
    }
    trained = {
        f"{variant}, cycle {cycle}, {split}": predicted(table, variant, cycle, split)
        for variant, cycle in (("plain", 0), ("psl", 0), ("psl", 1))
        for split in ("train", "val")
    }
    return best | seeds | pseudo | trained


def method_levels(table: pd.DataFrame) -> dict[str, float]:
    """The figures behind EPS and ESOL."""
    methods = list(dict.fromkeys(table["method"].dropna()))
    best = {
        f"{m}, best constant threshold": value(table, "miou_best", method=m, stage="fused")
        for m in ("cam", "erasing", "eps", "eps_naive", "eps_erasing", "esol", "esol_fused")
    }
    seeds = {f"{m}, seed masks": seed_masks(table, m) for m in methods}
    rounds = {
        f"esol, round {r}, {m} at its best threshold": esol_round(table, m, r)
        for r in (1, 2, 3)
        for m in ("miou_best", "precision", "recall")
    }
    return best | rounds | seeds | {f"{m}, confusion ratio of the seed masks": confused(table, m) for m in methods}


def prm_levels(table: pd.DataFrame) -> dict[str, float]:
    """The figures behind PRM."""
    rows = table[table["stage"] == "instances"]
    methods = list(dict.fromkeys(rows["method"]))
    levels = {f"{m}, mAP^r {t:g}": found(table, m, t) for m in methods for t in (0.25, 0.5, 0.75)}
    levels |= {f"{m}, best overlap": value(rows, "abo", method=m) for m in methods}
    pointed = dict.fromkeys(rows[rows["metric"] == "pointing"]["method"])
    return levels | {
        f"{m}, {what}": value(rows, name, method=m)
        for m in pointed
        for name, what in (("pointing", "pointing"), ("response_quality", "quality"))
    }


SETS = {
    "aepsl": ClaimSet(overlay="configs/claims.yaml", claims=AEPSL, levels=aepsl_levels, runs=[*SEEDS, OTHER_SCENES]),
    "methods": ClaimSet(overlay="configs/scenes_all.yaml", claims=EPS | ESOL, levels=method_levels),
    "prm": ClaimSet(
        overlay="configs/scenes_instances.yaml",
        claims=PRM,
        levels=prm_levels,
        target="instances",
        tables="metrics/*/instances.csv",
    ),
}


def table_of(claims: ClaimSet, tables: Mapping[tuple[int, int], pd.DataFrame]) -> str:
    """The claims as a Markdown table, gains in points."""
    head = [f"seed {s}" + (f", scenes {g}" if g else "") for s, g in tables]
    levels = pd.concat([pd.Series(claims.levels(t)) for t in tables.values()], axis=1)
    lines = ["| claim | " + " | ".join(head) + " | mean ± sd | holds |", "|---|" + "---|" * (len(head) + 2)]
    for name, (least, gain) in claims.claims.items():
        gains = pd.Series([gain(t) * 100 for t in tables.values()])
        seeds = [v for (_, g), v in zip(tables, gains, strict=True) if g == 0]
        holds = "yes" if all(v > 0 for v in seeds) and sum(seeds) / len(seeds) >= least * 100 else "no"
        lines.append(
            f"| {name} | "
            + " | ".join(f"{v:+.1f}" for v in gains)
            + f" | {gains.mean():+.1f} ± {gains.std(ddof=0):.1f} | {holds} |"
        )
    lines += ["", "| figure, points | " + " | ".join(head) + " |", "|---|" + "---|" * len(head)]
    lines += [
        f"| {name} | " + " | ".join(f"{100 * v:.1f}" for v in row) + " |"
        for name, row in zip(levels.index, levels.to_numpy(), strict=True)
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run what is missing, then print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--runs", type=int, default=4, help="only the first so many runs of a set")
    parser.add_argument("--cores", default="all")
    parser.add_argument("--configfile", nargs="*", default=[], help="further overlays")
    arguments = parser.parse_args()
    tables: dict[str, dict[tuple[int, int], pd.DataFrame]] = {name: {} for name in arguments.sets}
    for run in [*SEEDS, OTHER_SCENES]:
        for name in arguments.sets:
            if run in SETS[name].runs[: arguments.runs]:
                tables[name][run] = run_workflow(
                    *run, claims=SETS[name], cores=arguments.cores, extra=arguments.configfile
                )
    for name in arguments.sets:
        text = table_of(SETS[name], tables[name])
        (ROOT / "results" / f"claims-{name}.md").write_text(text)
        print(text, flush=True)


if __name__ == "__main__":
    main()
