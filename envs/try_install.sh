#!/bin/sh
# Install the package without extras into a new environment, and make masks with it.
# Everything is in a temporary folder, which stays if a step fails. Usage: envs/try_install.sh PYTHON
set -eu
python=$1
cd "$(dirname "$0")/.."
envs/check_tools.sh "$python"
folder=$(mktemp -d)
trap 'test -z "$folder" || echo "error: the last step failed; see $folder" >&2' EXIT

began=$(date +%s)
# copies: building in the checkout would leave build/ there, and the workflow must not find the package beside itself
mkdir "$folder/source" "$folder/workflow" "$folder/run"
cp -r pyproject.toml README.md LICENSE wsss "$folder/source"
cp -r Snakefile rules envs config.yaml profiles "$folder/workflow"
"$python" -m venv "$folder/venv"
envs/install.sh "$folder/venv/bin/python" "$folder/source"
PATH=$folder/venv/bin:$PATH
installed=$(date +%s)

for extra in higra onnxruntime onnx onnxscript pytest; do
    if python -c "import $extra" 2>/dev/null; then
        echo "error: $extra was installed, but it belongs to an extra" >&2
        exit 1
    fi
done
cd "$folder/run"
cat >small.yaml <<'END'
run: small
methods: [cam]
dataset: {scenes: {train: 12, val: 2}}
saliency: {kind: none}
seeds: {classifier: {epochs: 1, min_steps: 1}}
pseudo: {seed: {kind: scores, cue: constant}}
segment: {methods: []}
compute: {shards: {train: 1, val: 1}}
END
run() {
    snakemake --snakefile ../workflow/Snakefile --cores 2 "$@" >out.txt 2>&1
}
run pseudo_masks --configfile small.yaml || { cat out.txt >&2 && exit 1; }
python - <<'END'
from pathlib import Path

from wsss.files.store import MapReader

(path,) = Path("results/small/cam/pseudo").rglob("cycle-0/*.h5")
with MapReader(path) as reader:
    found = len(reader.image_ids)
assert found == 12, f"{path}: masks of {found} images, expected 12"
END

# a missing extra is one line, said before the first job
refuse() {
    echo "$2" >more.yaml
    if run --dry-run --configfile small.yaml more.yaml || ! grep -q "pip install 'wsss\[$1\]'" out.txt; then
        cat out.txt >&2
        echo "error: a configuration without its extra was not refused by its name: $2" >&2
        exit 1
    fi
}
refuse saliency 'saliency: {kind: u2net}'
refuse instances '{methods: [prm], instances: {methods: [prm]}}'
ended=$(date +%s)
cd / && rm -rf "$folder" && folder=
echo "$($python -V): installed in $((installed - began)) s, masks in $((ended - installed)) s"
