"""Path helpers, stage parameters, the round walk. No rules. What needs no Snakemake is in wsss/workflow/."""

import json
import os
import sys
import time
from pathlib import Path
from shlex import quote

from wsss.files.json_files import StopFigures, read_checked
from wsss.runtime.extras import absent
from wsss.runtime.workflow_process import announce_workflow
from wsss.settings.config import load
from wsss.settings.faults import ConfigError
from wsss.settings.needs import needs
from wsss.settings.reading import only_read, run_settings
from wsss.settings.stage_settings import PlanSettings
from wsss.settings.values import refuse_double_keys
from wsss.stages.dataset.source import source_of
from wsss.workflow.digests import listing_digest, stage_code
from wsss.workflow import run_plan
from wsss.workflow.graph import Graph
from wsss.workflow.instance_graph import InstanceGraph
from wsss.workflow.jobs import Job
from wsss.workflow.rows import FULL_SUPERVISION
from wsss.workflow.listing import given_folder
from wsss.workflow.closing import closing_message
from wsss.workflow.run_lock import hold_run
from wsss.workflow.stages import PATTERNS, STAGES

try:
    for file in filter(os.path.isfile, workflow.configfiles):  # a pipe was read already
        refuse_double_keys(Path(file))
    GRAPH = Graph(load(config))
except ConfigError as error:
    sys.exit(f"error: {error}")

announce_workflow()

# The rules' shell finds the `wsss` of the Python that runs Snakemake, also where its environment is not activated.
# With --sdm conda it finds that of the rule's environment.
if not any(method.name == "CONDA" for method in workflow.deployment_settings.deployment_method):
    shell.prefix(f"export PATH={quote(os.path.dirname(sys.executable))}:$PATH; ")
    if lacking := absent(needs(GRAPH.config)):
        sys.exit("\n".join(f"error: {line}" for line in lacking))

BASE = GRAPH.base
INSTANCES = InstanceGraph(GRAPH)
COMPUTE = GRAPH.config.compute
METHODS = [*GRAPH.config.methods, FULL_SUPERVISION]
BEGAN = time.time()
VARIANTS = list(dict.fromkeys([*GRAPH.config.segment.variants, "plain"]))


wildcard_constraints:
    **PATTERNS,
    method="|".join(METHODS),
    variant="|".join(VARIANTS),


onstart:
    try:
        print(hold_run(GRAPH.config.run), end="", file=sys.stderr)
    except ValueError as error:
        sys.exit(f"error: {error}")


onsuccess:
    print(closing_message(Path(BASE), since=BEGAN, failed=False), file=sys.stderr)


onerror:
    print(closing_message(Path(BASE), since=BEGAN, failed=True), file=sys.stderr)


def log_of(stage, key):
    """Log file of a job, the stage's name as its folder."""
    return f"{BASE}/logs/{stage}/{key}.log"


def bench_of(stage, key):
    """Time and memory of a job."""
    return f"{BASE}/benchmarks/{stage}/{key}.tsv"


def growing(amount):
    """Resource function: `amount` on the first try, twice as much on the second, and so on.

    A training's time does not grow: on the next try it goes on after its last epoch.
    """
    return lambda w, attempt: amount * attempt


def product(stage):
    """Output of a stage's rule, with its wildcards."""
    return f"{BASE}/{STAGES[stage].place}"


def job_of(w):
    """A job's wildcards."""
    return Job(**{k: int(v) if k in ("round", "cycle") else v for k, v in w.items()})


def settings(stage):
    """Params function: the keys that the stage reads, as JSON."""
    return lambda w: GRAPH.stage(stage, job_of(w)).model_dump_json()


def code(stage):
    """Params value: digest of the stage's code; a function where its settings name modules that it imports."""
    if STAGES[stage].imports:
        return lambda w: stage_code(stage, GRAPH.stage(stage, job_of(w)) if STAGES[stage].view else None)
    return stage_code(stage)


def compute(stage):
    """Params value: what of the machine changes results. Device and workers rerun nothing."""
    return json.dumps(only_read(COMPUTE, stage=stage))


def rounds_so_far(method):
    """Rounds of a method: fixed, or as many as the stop rule leaves of those measured so far."""

    def figures(r):
        path = checkpoints.measure_round.get(method=GRAPH.region_source(method, r), round=r).output[0]
        return read_checked(Path(path), StopFigures, remedy="delete it and start again")

    return GRAPH.rounds_used(method, figures=figures)


def all_rounds():
    """Rounds used, by method."""
    return {m: rounds_so_far(m) for m in GRAPH.config.methods}


def round_metrics(method):
    """The measured rounds of a method; asked for beside its products, so that a changed stop rule is noticed."""
    return [GRAPH.round_metrics(method, r) for r in range(1, rounds_so_far(method) + 1)]


def measured():
    """Every artefact that is measured (needs the rounds)."""
    return run_plan.measured(GRAPH, all_rounds())


def mask_lists(w):
    """The masks that users take away."""
    return [
        f"{BASE}/{m}/masks/{s}.csv" for m in GRAPH.config.methods for s in ("train", "val") if GRAPH.final_masks(m, s)
    ]


def plan_settings(w):
    """Params function: configuration without what cannot change results, and the rounds."""
    plan = PlanSettings.model_construct(config=run_settings(GRAPH.config), rounds=all_rounds())
    return plan.model_dump_json(warnings=False)


def given_listing(stage):
    """Params function: digest of the listing of the given maps that a stage reads; "" where it makes them itself."""
    return lambda w: listing_digest(folder) if (folder := given_folder(GRAPH.stage(stage, job_of(w)))) else ""


def some(files, key):
    """Input value: a target's files; asked for by name it must not make nothing in silence."""
    if not files:
        raise WorkflowError(f"{key} is empty, so there is nothing to make: name methods there")
    return files


def of_shard(files, w):
    """Those of the files that belong to the job's shard."""
    return [f for f in files if Path(f).stem == w.shard]


def shard_of(paths, w):
    """The files of one shard, one a round in order."""
    return of_shard([f for r in range(1, rounds_so_far(w.method) + 1) for f in paths(w.method, r)], w)


def instance_shard(kind):
    """Input function: the shard's file of one kind of artefact; none where the method does not read it."""
    return lambda w: of_shard(getattr(INSTANCES, kind)(w.method), w)


def measured_row(w):
    """The measured artefact that a metrics fragment is about."""
    artefacts = run_plan.measured(GRAPH, {m: GRAPH.max_rounds(m) for m in GRAPH.config.methods})
    return next(row for row in artefacts if (row.method, row.name) == (w.method, w.name))


def row_keys(w):
    """Params function: the identifying columns of its rows in metrics.csv."""
    return json.dumps(measured_row(w).row_keys(run=GRAPH.config.run, seed=GRAPH.config.seed))
