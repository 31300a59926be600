# From image-level labels to masks. Path grammar (docs/ARCHITECTURE.md says what each artefact is):
#   results/{run}/dataset/                          index.csv  classes.csv  statistics.json  shards/{shard}.csv
#   results/{run}/saliency/{cue}/{shard}.h5
#   results/{run}/{method}/seeds/round-{round}/     classifier.safetensors  training.json  metrics.json
#                                                   scores/{shard}.h5  regions/{shard}.h5
#   results/{run}/{method}/seeds/fused/{shard}.h5
#   results/{run}/{method}/pseudo/seed/{shard}.h5                      unrefined seed masks
#   results/{run}/{method}/pseudo/{variant}/cycle-{cycle}/{shard}.h5   what trains segment/{variant}/cycle-{cycle}
#   results/{run}/{method}/segment/{variant}/cycle-{cycle}/            segmenter.safetensors  metrics.json
#                                                                      predictions/{shard}.h5
#   results/{run}/{method}/masks/{split}.csv  masks/{split}/*.png      what users take away
#   results/{run}/proposals/{kind}/{shard}.json                        mask proposals, the same for every method
#   results/{run}/{method}/instances/               responses/{shard}.h5  {shard}.json  instances.json  images/*.png
#   results/{run}/metrics/{method}/{name}.csv  ->  metrics.csv  ->  report/index.html
# Equal work has one owner (Graph.round_source): cam's round 1 is erasing's. Ask for targets by name (all, seeds,
# pseudo_masks, segmentation, instances, report), not for paths: only targets know the number of automatic rounds.
from snakemake.utils import min_version

min_version("9.21")


configfile: workflow.source_path("config.yaml")


include: "rules/common.smk"
include: "rules/dataset.smk"
include: "rules/saliency.smk"
include: "rules/seeds.smk"
include: "rules/pseudo.smk"
include: "rules/segment.smk"
include: "rules/instances.smk"
include: "rules/evaluate.smk"
include: "rules/report.smk"


localrules:
    all,
    seeds,
    pseudo_masks,
    segmentation,
    instances,
    report,


rule all:
    default_target: True
    input:
        f"{BASE}/report/index.html",
        mask_lists,
        INSTANCES.products(),


rule seeds:
    input:
        lambda w: [f for m in GRAPH.config.methods for f in GRAPH.fused(m) + round_metrics(m)],


rule pseudo_masks:
    input:
        lambda w: [f for m in GRAPH.config.methods for f in GRAPH.final_masks(m, "train") + round_metrics(m)],


rule segmentation:
    input:
        lambda w: some([f for row in measured() if row.stage == "prediction" for f in row.files], "segment.methods"),


rule instances:
    input:
        lambda w: some(INSTANCES.products() + INSTANCES.fragments(), "instances.methods"),


rule report:
    input:
        f"{BASE}/report/index.html",
