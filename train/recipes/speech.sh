#!/bin/sh
# The speech detector of the bundled model: sh train/recipes/speech.sh ENGLISH8K [JUDGE] [SCRATCH]. ENGLISH8K and JUDGE
# are folders that hold a manifest.csv; JUDGE, which may be empty (''), is for judging alone, a corpus never heard. All
# that it is taught on is free (streamcab/models/README.md). Wants Debian's apt-get for sounds and prompts,
# `pip install --no-deps silero-vad onnxruntime` for the teacher, and the extra `codecs`. Half an hour on one free core
# and 3 GB of scratch. The accent's weights stay as they are. COUNT and EPOCHS make it smaller: a trial.
set -eu
english8k=${1:?the folder of english8k, which holds manifest.csv}
judge=${2:-}
scratch=${3:-runs/speech}
count=${COUNT:-7000}
epochs=${EPOCHS:-26}
model=${MODEL:-streamcab/models/default.safetensors}
cd "$(dirname "$0")/../.."
mkdir -p "$scratch/packages" "$scratch/voices"
scratch=$(cd "$scratch" && pwd)
fetch() { # FOLDER PACKAGE: unpacked, not installed; a package that this release lacks is left out
    [ -d "$scratch/$1/$2" ] && return
    (cd "$scratch" && apt-get download -q "$2" && dpkg -x "$2"_*.deb "$1/$2" && rm "$2"_*.deb) || echo "left out: $2" >&2
}
# 1. Music and sounds of games and desktops. Those named in `kept` are for the test alone. Prompts of telephones, which
# no coder has been through.
kept="asterisk-moh-opsound-wav drascula-music openarena-data lomiri-sounds zaz-data gcompris-qt-data"
for package in $kept sound-theme-freedesktop gnome-audio oxygen-sounds deepin-sound-theme psi-plus-sounds \
    eiskaltdcpp-sounds frozen-bubble-data neverball-data extremetuxracer-data lincity-ng-data pingus-data xmoto-data \
    scorched3d-data trackballs-data chromium-bsu-data holotz-castle-data teeworlds-data alienblaster-data amoebax-data \
    bomberclone-data foobillardplus-data rafkill-data raincat-data parsec47-data torus-trooper-data \
    tumiki-fighters-data noiz2sa-data rrootage-data titanion-data gunroar-data pathological singularity-music \
    hyperrogue-music planetblupi-music-ogg colobot-common-sounds lugaru-data heroes-sound-effects fillets-ng-data \
    tuxmath-data wesnoth-1.16-music supertux-data asc-music pushover-data btanks-data; do
    fetch packages "$package"
done
for package in asterisk-core-sounds-en-wav asterisk-core-sounds-es-wav asterisk-core-sounds-fr-wav \
    asterisk-core-sounds-it-wav asterisk-core-sounds-ru-wav asterisk-prompt-it-menardi-wav; do
    fetch voices "$package"
done
detect="python -m streamcab_train.detect"
# 2. Clips, what the teacher says of them, sounds in which it hears no speech.  3. Pieces of ten seconds, and more of
# what is mistaken for speech most.  4. The net.  5. Into the bundled model.
# shellcheck disable=SC2086
$detect gather "$scratch" --speech "$english8k/manifest.csv" ${judge:+--judge "$judge/manifest.csv"} \
    --voices "$scratch"/voices/* --sounds "$scratch/packages" --keep-out $kept --most 3000
$detect pieces "$scratch" --name pieces-valid --count 300 --seed 1
$detect pieces "$scratch" --name pieces-train --count "$count" --seed 2
$detect pieces "$scratch" --name pieces-train-hard --count $((count / 7)) --seed 77 \
    --only wind swelling engine shaped crackle music music music beeps
$detect train "$scratch" --epochs "$epochs" --batch 16
$detect attach "$scratch" "$model" --threshold 0.8 --taught "english8k (CC0, CC BY, CC BY-SA) and packages of Debian main \
(streamcab/models/README.md); free for commercial use"
python benchmarks/speech_detector.py "$scratch" --model "$model" --minutes "${MINUTES:-4}" ${judge:+--judge "$(basename "$judge")"}
