#!/bin/sh
# The model that was bundled before, evidence from second moments: sh train/recipes/moments.sh FOLDER, where FOLDER holds saa8k
# (manifest.csv and FLAC files). About 20 minutes on one free core, the folds 10 more. Killed, it goes on where it was.
set -eu
corpus=${1:?the folder of saa8k, which holds manifest.csv}
cd "$(dirname "$0")/../.."
data=$corpus/manifest.csv recipe=configs/evidence.toml
# 1. The distiller, by voices of none of the classes.  2. How good it is: folds.  3. The model, with its temperature.
streamcab pretrain --data "$data" --config $recipe --out runs/pretrained --threads 1
streamcab train --data "$data" --config $recipe --out runs/folds --threads 1 --folds 5 --repeats 5 --resume
streamcab train --data "$data" --config $recipe --out runs/moments --threads 1 --resume
