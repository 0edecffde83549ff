#!/bin/sh
# The speech detector of the bundled model: sh train/recipes/speech.sh SAA8K ENGLISH8K [SCRATCH], the first two being
# folders that hold a manifest.csv. Wants Debian's apt-get for sounds, and `pip install --no-deps silero-vad onnxruntime`
# for the teacher. About an hour on one free core and 2 GB of scratch. The accent's weights stay as they are.
set -eu
saa8k=${1:?the folder of saa8k, which holds manifest.csv}
english8k=${2:?the folder of english8k, which holds manifest.csv}
scratch=${3:-runs/speech}
cd "$(dirname "$0")/../.."
mkdir -p "$scratch/packages"
scratch=$(cd "$scratch" && pwd)
# 1. Music and sounds of games and desktops. Those named in `kept` are for the test alone.
kept="asterisk-moh-opsound-wav drascula-music openarena-data lomiri-sounds zaz-data gcompris-qt-data"
for package in $kept sound-theme-freedesktop gnome-audio oxygen-sounds deepin-sound-theme psi-plus-sounds \
    eiskaltdcpp-sounds frozen-bubble-data neverball-data extremetuxracer-data lincity-ng-data pingus-data xmoto-data \
    scorched3d-data trackballs-data chromium-bsu-data holotz-castle-data teeworlds-data alienblaster-data amoebax-data \
    bomberclone-data foobillardplus-data rafkill-data raincat-data parsec47-data torus-trooper-data \
    tumiki-fighters-data noiz2sa-data rrootage-data titanion-data gunroar-data pathological singularity-music \
    hyperrogue-music planetblupi-music-ogg colobot-common-sounds lugaru-data heroes-sound-effects fillets-ng-data \
    tuxmath-data; do
    [ -d "$scratch/packages/$package" ] && continue
    (cd "$scratch" && apt-get download -q "$package" && dpkg -x "$package"_*.deb "packages/$package" && rm "$package"_*.deb)
done
detect="python -m streamcab_train.detect"
# 2. Clips, what the teacher says of them, sounds in which it hears no speech.  3. Pieces of ten seconds, and more of
# what was mistaken for speech at first.  4. The net.  5. Into the bundled model.
# shellcheck disable=SC2086
$detect gather "$scratch" --speech "$saa8k/manifest.csv" "$english8k/manifest.csv" --sounds "$scratch/packages" \
    --keep-out $kept --most 1600
$detect pieces "$scratch" --name pieces-valid --count 300 --seed 1
$detect pieces "$scratch" --name pieces-train --count 4500 --seed 2
$detect pieces "$scratch" --name pieces-train-hard --count 500 --seed 77 --only wind wind swelling engine shaped music crackle
$detect train "$scratch" --epochs 15 --batch 16
mv "$scratch/net.pt" "$scratch/first.pt"
$detect train "$scratch" --epochs 7 --batch 16 --rate 1e-3 --start "$scratch/first.pt"
$detect attach "$scratch" streamcab/models/default.safetensors --threshold 1.6
python benchmarks/speech_detector.py "$scratch"
