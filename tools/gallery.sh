#!/bin/bash
# Draws the README's pictures of the bundled model anew: a sheet of videos, one row a prompt of
# tools/gallery.txt, and a short loop.
#
#   tools/gallery.sh [--model FOLDER] [FOLDER_OF_PICTURES]     default: docs/pictures
set -euo pipefail
cd "$(dirname "$0")/.."

model=()
if [ "${1:-}" = --model ]; then
    model=(--model "$2")
    shift 2
fi
to=${1:-docs/pictures}
unreel=build/tools/unreel
frames=18 # latent frames: 69 pictures
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$to"

for tool in "$unreel" ffmpeg; do
    command -v "$tool" >/dev/null || { echo "$tool is missing (tools/setup.sh build test)" >&2 && exit 1; }
done

grep -v '^#' tools/gallery.txt >"$work/prompts"
n=0
while IFS= read -r prompt; do
    n=$((n + 1))
    "$unreel" generate "${model[@]}" --prompt "$prompt" --seed "$n" --num-output-frames $frames --quiet \
        --output "$work/$n.y4m" </dev/null
    ffmpeg -v error -i "$work/$n.y4m" -vf "select='not(mod(n,17))',tile=5x1:padding=2" -frames:v 1 \
        "$work/row$(printf %03d $n).png" </dev/null
    echo "$n: $prompt"
done <"$work/prompts"

# Two columns of rows, and the first six videos side by side as a loop.
ffmpeg -v error -y -framerate 1 -pattern_type glob -i "$work/row*.png" \
    -vf "tile=2x$(((n + 1) / 2)):padding=8:color=white" -frames:v 1 -c:v libwebp -quality 80 "$to/gallery.webp"
inputs=()
for i in 1 2 3 4 5 6; do
    inputs+=(-i "$work/$i.y4m")
done
ffmpeg -v error -y "${inputs[@]}" -filter_complex \
    "[0][1][2][3][4][5]xstack=inputs=6:layout=0_0|w0_0|w0+w0_0|0_h0|w0_h0|w0+w0_h0" \
    -c:v libwebp_anim -quality 60 -loop 0 "$to/postcards.webp"
ls -l "$to/gallery.webp" "$to/postcards.webp"
