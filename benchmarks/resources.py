"""What each rule asks of a cluster, and what its jobs took in finished runs.

`python benchmarks/resources.py results/voc12_sub [results/...]` prints the table of docs/CLUSTER.md.

Requests are those of rules/*.smk on a first try.
Seconds and memory are the largest of the runs' benchmarks/{rule}/*.tsv, which Snakemake writes for every job.
Seconds are from start to end. Memory is the resident memory of a job and the processes it started, summed.
It is sampled every few seconds (every 30 after a while). Libraries that processes share count once for each.
"""

from __future__ import annotations

import argparse
import csv
import re
from dataclasses import dataclass
from pathlib import Path

RULES = Path(__file__).parent.parent / "rules"
HEAD = (
    "| rule | GPU | threads | memory, MB | time, min | most memory seen, MB | longest job, s | jobs seen |\n"
    "|---|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the first try of a job asks for. Threads and memory are as the rule says; a retry multiplies `grows`."""

    gpu: int
    threads: str
    mem_mb: str
    runtime: int
    grows: tuple[str, ...]


def requests(folder: Path = RULES) -> dict[str, Request]:
    """The request of every rule, by its name, in the order of the files' names."""
    found = {}
    for path in sorted(folder.glob("*.smk")):
        for block in re.split(r"^(?=(?:rule|checkpoint) )", path.read_text(encoding="utf-8"), flags=re.M)[1:]:
            name = re.match(r"\w+ (\w+):", block)
            amounts = dict(re.findall(r"^        (gpu|mem_mb|runtime)=(?:growing\()?([^,)]+)", block, re.M))
            threads = re.search(r"^    threads: (.+)$", block, re.M)
            if name is None or threads is None:
                raise ValueError(f"{path}: a rule without a name or threads; write one `threads: ...` line a rule")
            grows = tuple(re.findall(r"^        (\w+)=growing\(", block, re.M))
            found[name[1]] = Request(
                gpu=int(amounts.get("gpu", 0)),
                threads=threads[1].replace("COMPUTE.", "compute."),
                mem_mb=amounts["mem_mb"].replace("COMPUTE.", "compute."),
                runtime=int(amounts["runtime"]),
                grows=grows,
            )
    return found


def seen(runs: list[Path], rule: str) -> list[tuple[float, float]]:
    """(seconds, MB) of every job of a rule in the runs; jobs too short to be sampled have no memory."""
    rows = [
        row
        for run in runs
        for path in sorted(run.glob(f"benchmarks/{rule}/*.tsv"))
        for row in csv.DictReader(path.open(), delimiter="\t")
    ]
    return [(float(row["s"]), float(row["max_rss"]) if row["max_rss"] not in ("-", "NA") else 0.0) for row in rows]


def asked(rule: str, request: Request) -> str:
    """The first cells of a rule's row."""
    return f"| {rule} | {request.gpu or ''} | {request.threads} | {request.mem_mb} | {request.runtime} |"


def table(runs: list[Path]) -> str:
    """The table, rules by name of their file."""
    lines = [HEAD]
    for rule, request in requests().items():
        jobs = seen(runs, rule)
        most = f" {max(m for _, m in jobs):.0f} | {max(s for s, _ in jobs):.0f} | {len(jobs)} |" if jobs else " | | 0 |"
        lines.append(asked(rule, request) + most)
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of finished runs, e.g. results/voc12_sub")
    print(table(parser.parse_args().runs))
