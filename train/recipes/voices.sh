#!/bin/sh
# What tells voices apart on a line, given to a model whose c_t hears context: sh train/recipes/voices.sh MODEL MANIFEST..,
# as many manifests as context.sh had, CONFIG its recipe. MODEL is written anew; its answers stay as they are. Some
# minutes on one free core and 2 GB of memory. Wants the extra `torch`.
set -eu
model=${1:?a checkpoint, such as streamcab/models/default.safetensors}
shift
root=$(cd "$(dirname "$0")/../.." && pwd)
config=${CONFIG:-$root/configs/context.toml}
python -m streamcab_train.voice_head "$model" --config "$config" --data "$@"
python "$root/benchmarks/voices.py" "$model" --config "$config" --data "$@"
