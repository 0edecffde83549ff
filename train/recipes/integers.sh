#!/bin/sh
# The same model with a distiller in whole numbers, which processors compute in bytes: sh train/recipes/integers.sh MODEL
# MANIFEST.., as many manifests as context.sh had, CONFIG its recipe. OUT (runs/integers) then holds model.safetensors. No
# label is used, and all other layers stay. A killed run continues. To read 12 hours of speech took 11 minutes of a busy
# core, to train 6 minutes of processor time. Wants 2 GB of memory, 0.7 GB of disk, and the extra `torch`.
set -eu
model=${1:?a checkpoint, such as streamcab/models/default.safetensors}
shift
root=$(cd "$(dirname "$0")/../.." && pwd)
python -m streamcab_train.integers "$model" --config "${CONFIG:-$root/configs/context.toml}" \
    --out "${OUT:-runs/integers}" --data "$@"
