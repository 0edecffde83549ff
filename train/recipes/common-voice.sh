#!/bin/sh
# A model on Common Voice: sh train/recipes/common-voice.sh FOLDER WHEELS, where FOLDER is a language of a release (it holds
# validated.tsv and clips/) and WHEELS as for context.sh. PER_SPEAKER=N (10) clips of a speaker at most are heard, since
# many speakers teach more than many clips. OUT (runs/common-voice) holds the manifest and what context.sh leaves; killed,
# it goes on where it was. An hour of speech takes 25 MB of disk, and 1.3 GB more pass while the teacher hears the first
# 5,000 clips. WORKERS=N processes hear recordings ahead of the training; PROCESSES=N train together, by torchrun (1, 2, 4 or
# 8). Clips whose reader named no accent are left out. train/README.md, "At full size", says how long it takes.
set -eu
folder=${1:?the folder of a language of Common Voice}
wheels=${2:?a folder for the wheels of the teacher}
root=$(cd "$(dirname "$0")/../.." && pwd)
out=${OUT:-runs/common-voice}
mkdir -p "$out"
[ -e "$out/manifest.csv" ] ||
    python -m streamcab prepare common-voice "$folder" --out "$out/manifest.csv" --per-speaker "${PER_SPEAKER:-10}"
CONFIG=${CONFIG:-$root/configs/context-common-voice.toml} OUT="$out" \
    sh "$root/train/recipes/context.sh" "$wheels" "$out/manifest.csv"
