#!/bin/sh
# The score of accents of none of the labels, given to a model whose c_t hears context: sh train/recipes/other.sh MODEL
# MANIFEST.., as many manifests as context.sh had, CONFIG its recipe. MODEL is written anew; its probabilities stay as they
# are. Some minutes on one free core and 6 GB of memory. The same clips give the same file. Wants the extra `torch`.
exec sh "$(dirname "$0")/head.sh" other_head other "$@"
