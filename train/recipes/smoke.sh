#!/bin/sh
# Seconds on one core: a run from manifest to checkpoint on the clips that ship. The model is good for nothing.
set -eu
cd "$(dirname "$0")/../.."
streamcab train --data streamcab/clips/clips.csv --config configs/smoke.toml --out runs/smoke --threads 1 "$@"
