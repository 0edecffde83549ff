#!/bin/sh
# The same model with a distiller in whole numbers, which processors compute in bytes: sh train/recipes/integers.sh MODEL
# MANIFEST.., as many manifests as context.sh had, CONFIG its recipe. OUT (runs/integers) then holds model.safetensors. No
# label is used, and all other layers stay. A killed run continues. For 11 hours of speech it takes a quarter of an hour of
# one core to read it, and ten minutes to train. Wants 3 GB of memory, 1 GB of disk, and the extra `torch`.
set -eu
model=${1:?a checkpoint, such as streamcab/models/default.safetensors}
shift
root=$(cd "$(dirname "$0")/../.." && pwd)
python -m streamcab_train.integers "$model" --config "${CONFIG:-$root/configs/context.toml}" \
    --out "${OUT:-runs/integers}" --data "$@"
