#!/bin/sh
# The model `phones`: sh train/recipes/phones.sh FOLDER, where FOLDER holds saa8k (manifest.csv and FLAC files). Wants
# `pip install pocketsphinx`. About 40 minutes on one free core. Killed, it goes on where it was. One thread: others round
# differently.
set -eu
corpus=${1:?the folder of saa8k, which holds manifest.csv}
cd "$(dirname "$0")/../.."
data=$corpus/manifest.csv recipe=configs/phones.toml
# 1. Phones of voices of none of the classes.  2. The distiller and the phones, by the same voices.  3. How good it is: folds.
# 4. The model, with its temperature.
python -m streamcab_train.align "$data" --out runs/alignment.jsonl
streamcab pretrain --data "$data" --config $recipe --out runs/pretrained-phones --threads 1
streamcab train --data "$data" --config $recipe --out runs/folds-phones --threads 1 --folds 5 --repeats 5 --resume
streamcab train --data "$data" --config $recipe --out runs/phones --threads 1 --resume
cp runs/phones/model.safetensors streamcab/models/phones.safetensors
