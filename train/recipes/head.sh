#!/bin/sh
# A part that is fitted to a trained model, and judged: what other.sh and voices.sh share. sh train/recipes/head.sh TOOL
# BENCHMARK MODEL MANIFEST.., CONFIG the recipe.
set -eu
tool=$1 benchmark=$2
shift 2
model=${1:?a checkpoint, such as streamcab/models/default.safetensors}
shift
root=$(cd "$(dirname "$0")/../.." && pwd)
config=${CONFIG:-$root/configs/context.toml}
python -m "streamcab_train.$tool" "$model" --config "$config" --data "$@"
python "$root/benchmarks/$benchmark.py" "$model" --config "$config" --data "$@"
