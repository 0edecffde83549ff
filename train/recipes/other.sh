#!/bin/sh
# The score of accents of none of the labels, given to a model whose c_t hears context: sh train/recipes/other.sh MODEL
# MANIFEST.., as many manifests as context.sh had, CONFIG its recipe. MODEL is written anew; its probabilities stay as they
# are. Some minutes on one free core and 6 GB of memory. The same clips give the same file. Wants the extra `torch`.
set -eu
model=${1:?a checkpoint, such as streamcab/models/default.safetensors}
shift
root=$(cd "$(dirname "$0")/../.." && pwd)
config=${CONFIG:-$root/configs/context.toml}
python -m streamcab_train.other_head "$model" --config "$config" --data "$@"
python "$root/benchmarks/other.py" "$model" --config "$config" --data "$@"
