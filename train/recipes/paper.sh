#!/bin/sh
# The paper's experiment: sh train/recipes/paper.sh MANIFEST [FOLDER]. Eight runs, seeds 0 to 7, by the paper's own
# split, in which the same voices stand in training and test: every score says so.
set -eu
manifest=${1:?a manifest of UT-Podcast: columns path, label (au, us, uk) and, if known, speaker}
runs=${2:-runs}
recipe=$(dirname "$0")/../../configs/paper.toml
mkdir -p "$runs"
for seed in 0 1 2 3 4 5 6 7; do
    sed "/^\[training\]/,\$ s/^seed = 0/seed = $seed/" "$recipe" > "$runs/paper-$seed.toml"
    streamcab train --data "$manifest" --config "$runs/paper-$seed.toml" --out "$runs/paper-$seed" \
        --allow-shared-speakers --resume
done
