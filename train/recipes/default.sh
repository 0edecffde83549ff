#!/bin/sh
# The bundled model: sh train/recipes/default.sh FOLDER, where FOLDER holds saa8k (manifest.csv and FLAC files).
# About 10 minutes on one core. Killed, it goes on where it was. One thread: others round differently.
set -eu
corpus=${1:?the folder of saa8k, which holds manifest.csv}
cd "$(dirname "$0")/../.."
streamcab train --data "$corpus/manifest.csv" --config configs/live.toml --out runs/default --threads 1 --resume
cp runs/default/model.safetensors streamcab/models/default.safetensors
