#!/bin/sh
# Snakemake runs this in the new environment of wsss.yaml, from the folder of the Snakefile.
# wsss.yaml cannot name that folder: Snakemake copies it away. All rules share the environment, so it has their extras.
set -e
envs/install.sh python '.[instances,saliency]'
