#!/bin/sh
# Snakemake runs this in the new environment of wsss.yaml, from the folder of the Snakefile.
# wsss.yaml cannot name that folder: Snakemake copies it away. All rules share the environment, so it has their extras.
set -e
python -m pip install --quiet --constraint envs/constraints.txt '.[instances,saliency]'
