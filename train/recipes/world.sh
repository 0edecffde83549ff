#!/bin/sh
# The model `world`: sh train/recipes/world.sh FOLDER, where FOLDER holds saa8k (manifest.csv and FLAC files). It does
# not ship: docs/results/accuracy.md says why. An hour or two on one core. Killed, it goes on where it was.
set -eu
corpus=${1:?the folder of saa8k, which holds manifest.csv}
cd "$(dirname "$0")/../.."
data=$corpus/manifest.csv recipe=configs/world.toml
# 1. The distiller, by voices of none of the classes.  2. How good it is: folds, the baseline, and another text.
# 3. The model, with its temperature: --model runs/world/model.safetensors.
streamcab pretrain --data "$data" --config $recipe --out runs/pretrained-world --threads 1
streamcab train --data "$data" --config $recipe --out runs/world-folds --threads 1 --folds 5 --repeats 5 --resume
python benchmarks/mfcc_covariance.py "$data" --config $recipe --shuffles 5 --against runs/world-folds
python benchmarks/mfcc_covariance.py "$data" --config $recipe --shuffles 5 --halves
python benchmarks/other_text.py "$data" --config $recipe
streamcab train --data "$data" --config $recipe --out runs/world --threads 1 --resume
