"""Path helpers, stage parameters, the round walk. No rules; what needs no Snakemake is in wsss/workflow/graph.py, where it is tested."""

import json
import os
import sys
import time
from pathlib import Path
from shlex import quote

from wsss.settings.config import ConfigError, load, refuse_double_keys
from wsss.stages.dataset.source import source_of
from wsss.workflow.listing import given_folder
from wsss.workflow.graph import Graph
from wsss.workflow.closing import closing_message
from wsss.workflow.run_lock import hold_run
from wsss.workflow.instance_graph import InstanceGraph
from wsss.files.json_files import StopFigures, read_checked
from wsss.workflow.digests import code_digest, listing_digest
from wsss.settings.kinds import kind_modules
from wsss.settings.needs import needs
from wsss.settings.reading import relevant
from wsss.settings.stage_settings import PlanSettings
from wsss.runtime.workflow_process import announce_workflow
from wsss.runtime.extras import absent
from wsss.methods import FACTS
from wsss.workflow.rounds import rounds_until_stop

try:
    for file in filter(os.path.isfile, workflow.configfiles):  # a pipe was read already
        refuse_double_keys(Path(file))
    GRAPH = Graph(load(config))
except ConfigError as error:
    sys.exit(f"error: {error}")

announce_workflow()

# The rules' shell finds the `wsss` of the Python that runs Snakemake, whether its environment is activated or not; with --sdm conda that of the rule's environment.
if not any(method.name == "CONDA" for method in workflow.deployment_settings.deployment_method):
    shell.prefix(f"export PATH={quote(os.path.dirname(sys.executable))}:$PATH; ")
    if lacking := absent(needs(GRAPH.config)):
        sys.exit("\n".join(f"error: {line}" for line in lacking))

BASE = GRAPH.base
INSTANCES = InstanceGraph(GRAPH)
COMPUTE = GRAPH.config.compute
METHODS = [*GRAPH.config.methods, "full"]
BEGAN = time.time()
VARIANTS = list(dict.fromkeys([*GRAPH.config.segment.variants, "plain"]))


wildcard_constraints:
    method="|".join(METHODS),
    variant="|".join(VARIANTS),
    round=r"[1-9]\d*",
    cycle=r"\d+",
    shard=r"(train|val)-\d+",
    split=r"train|val",


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
    """Resource function: `amount` on the first try, twice as much on the second, and so on. A training's time does not grow: tried again, it goes on after its last epoch."""
    return lambda w, attempt: amount * attempt


def settings(stage):
    """Params function: the keys the stage reads, as JSON."""
    names = ("method", "round", "cycle") + (("variant",) if stage != "refine_masks" else ())
    return lambda w: GRAPH.stage(
        stage, **{k: int(v) if k in ("round", "cycle") else v for k, v in w.items() if k in names}
    ).model_dump_json()


def code(stage_module, settings={}):
    """Params value: digest of the stage's code, with the kind of data set or saliency that its settings choose."""
    return code_digest(f"wsss.stages.{stage_module}", *kind_modules(settings))


def method_code(stage_module):
    """Params function: digest of the stage's code and of the method that the round runs."""
    return lambda w: code_digest(f"wsss.stages.{stage_module}", FACTS[GRAPH.round_kind(w.method, int(w.round))].module)


def compute_params():
    """Params value: what of the machine changes results. Device and workers do not rerun anything."""
    return COMPUTE.model_dump_json(include={"precision", "threads"})


def rounds_used(method):
    """Rounds of a method: fixed, or as many as the stop rule leaves of those measured so far."""
    if not GRAPH.is_auto(method):
        return GRAPH.max_rounds(method)

    def figures(r):
        path = checkpoints.measure_round.get(method=GRAPH.region_source(method, r), round=r).output[0]
        return read_checked(Path(path), StopFigures, mend="delete it and start again")

    return rounds_until_stop(GRAPH.max_rounds(method), GRAPH.settings(method).seeds.rounds.stop, figures=figures)


def all_rounds():
    """Rounds used, by method."""
    return {m: rounds_used(m) for m in GRAPH.config.methods}


def round_metrics(method):
    """The measured rounds of a method; asked for beside its products, so that a changed stop rule is noticed."""
    return [GRAPH.round_metrics(method, r) for r in range(1, rounds_used(method) + 1)]


def measured():
    """Every artefact that is measured (needs the rounds)."""
    return GRAPH.measured(all_rounds())


def mask_lists(w):
    """The masks that users take away."""
    return [
        f"{BASE}/{m}/masks/{s}.csv" for m in GRAPH.config.methods for s in ("train", "val") if GRAPH.final_masks(m, s)
    ]


def plan_settings(w):
    """Params function: configuration without what cannot change results, and the rounds."""
    return PlanSettings.model_construct(config=relevant(GRAPH.config), rounds=all_rounds()).model_dump_json(
        warnings=False
    )


def relevant_settings(stage):
    """Params function: as `settings`, without the subsections that the chosen kind does not read."""
    return lambda w: json.dumps(relevant(GRAPH.stage(stage, cue=getattr(w, "cue", ""))))


def given_listing(section):
    """Params value: digest of the listing of the given maps that a stage reads; "" where it makes them itself."""
    return listing_digest(folder) if (folder := given_folder(section)) else ""


def some(files, key):
    """Input value: a target's files; asked for by name it must not make nothing in silence."""
    if not files:
        raise WorkflowError(f"{key} is empty, so there is nothing to make: name methods there")
    return files


def shard_of(paths, w):
    """The files of one shard, one a round in order."""
    return [f for r in range(1, rounds_used(w.method) + 1) for f in paths(w.method, r) if Path(f).stem == w.shard]


def instance_settings(stage):
    """Params function: as `settings`, of a stage from peaks to instances."""
    return lambda w: INSTANCES.stage(stage, method=w.method).model_dump_json()


def instance_shard(kind):
    """Input function: the shard's file of one kind of artefact; none where the method does not read it."""
    return lambda w: [f for f in getattr(INSTANCES, kind)(w.method) if Path(f).stem == w.shard]


def unrefined_masks(w):
    """What refine_masks starts from: the seed masks, or the predictions of the cycle before."""
    cycle = int(w.cycle)
    return (
        f"{BASE}/{w.method}/pseudo/seed/{w.shard}.h5"
        if cycle == 0
        else f"{GRAPH.segment_folder(w.method, w.variant, cycle - 1)}/predictions/{w.shard}.h5"
    )


def measured_row(w):
    """The measured artefact that a metrics fragment is about."""
    artefacts = GRAPH.measured({m: GRAPH.max_rounds(m) for m in GRAPH.config.methods})
    return next(row for row in artefacts if (row.method, row.name) == (w.method, w.name))


def row_keys(w):
    """Params function: the identifying columns of its rows in metrics.csv."""
    return json.dumps(measured_row(w).row_keys(run=GRAPH.config.run, seed=GRAPH.config.seed))
