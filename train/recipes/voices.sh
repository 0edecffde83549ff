#!/bin/sh
# What tells voices apart on a line, given to a model whose c_t hears context: sh train/recipes/voices.sh MODEL MANIFEST..,
# as many manifests as context.sh had, CONFIG its recipe. MODEL is written anew; its answers stay as they are. Some
# minutes on one free core and 2 GB of memory. Wants the extra `torch`.
exec sh "$(dirname "$0")/head.sh" voice_head voices "$@"
