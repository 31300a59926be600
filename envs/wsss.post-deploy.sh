#!/bin/sh
# Snakemake runs this in the environment of wsss.yaml once it is made, from the folder of the Snakefile: Snakemake copies that file away, so it cannot name a folder beside itself.
set -e
python -m pip install --quiet --constraint envs/constraints.txt .
