#!/bin/sh
# Trains the bundled model from nothing and writes its folder. Stages that were stopped go on where
# they were when this is called again; a stage that is complete is left alone.
#
#     tools/train/all.sh RUN [MODEL_FOLDER]
#
# Minutes of each stage: STILLS, CLIPS, DECODER (VAE), LIGHT (decoder), MODEL_STILLS, MODEL_OPENINGS, MODEL
# in the environment (defaults: two cores with AMX); DISTILL, 0 by default.
# DEVICE=cuda trains on a GPU.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
run=${1:?usage: tools/train/all.sh RUN [MODEL_FOLDER]}
to=${2:-$here/../../models/postcard}
python=${PYTHON:-python3}
device=${DEVICE:-cpu}
threads=${THREADS:-$(nproc)}
# Threads that spin while they wait take the time that other programs need, and then their own.
export OMP_WAIT_POLICY=passive
# Large blocks are kept instead of being given back to the system and zeroed again at every step.
export MALLOC_MMAP_THRESHOLD_=4000000000 MALLOC_TRIM_THRESHOLD_=8000000000
# OpenBLAS takes processors that it does not know for one without vectors (36 GFLOP/s instead of 210).
if grep -q avx512bw /proc/cpuinfo; then
    export OPENBLAS_CORETYPE="${OPENBLAS_CORETYPE:-SkylakeX}"
fi
mkdir -p "$run"

stage() { # stage NAME COMMAND...
    name=$1
    shift
    if [ -e "$run/$name.done" ]; then
        echo "$name: done already"
        return
    fi
    "$python" "$here/$@"
    touch "$run/$name.done"
}

stage stills train_vae.py --run "$run" --device "$device" --threads "$threads" \
    --pictures 1 --batch 2 --lr 1.5e-3 --minutes "${STILLS:-8}"
stage clips train_vae.py --run "$run" --device "$device" --threads "$threads" \
    --pictures 9 --batch 2 --crop 64x64 --lr 4e-4 --minutes "${CLIPS:-60}"
stage tokenizer text.py --run "$run"
stage encode encode.py --run "$run" --device "$device" --clips "${COUNT:-3000}"
stage encode-stills encode.py --run "$run" --device "$device" --pictures 1 --clips 10000 --seed 2
stage encode-openings encode.py --run "$run" --device "$device" --pictures 9 --clips 4000 --seed 3

model() { # model NAME ARGUMENT...
    name=$1
    shift
    stage "$name" train_model.py --run "$run" --device "$device" --threads "$threads" --restart "$@"
}
mix="--pictures 1 9 9 93 93 93 --batch 80 24 24 4 4 4 --thing-weight 9"

model model-stills --pictures 1 --batch 64 --lr 2e-3 --minutes "${MODEL_STILLS:-40}"
model model-openings --pictures 9 --batch 20 --lr 1.5e-3 --minutes "${MODEL_OPENINGS:-30}"
# shellcheck disable=SC2086 # $mix is several words
model model $mix --words-weight 0.5 --lr 1.2e-3 --ema 0.995 --minutes "${MODEL:-180}"
# One forward a step, guided ones too, for somewhat fewer right motions; the model's unreel.yaml then needs
# guidance_scale: 1.
if [ "${DISTILL:-0}" != 0 ]; then
    # shellcheck disable=SC2086
    stage distill distill.py --run "$run" --device "$device" --threads "$threads" \
        $mix --lr 5e-4 --ema 0.99 --minutes "$DISTILL"
fi
# Only the decoder, so that what is encoded stays right: it can go on for as long as there is time.
stage decoder train_vae.py --run "$run" --device "$device" --threads "$threads" --decoder-only \
    --pictures 21 --batch 2 --crop 64x64 --motion-weight 2 --noise 0.3 --lr 6e-4 \
    --minutes "${DECODER:-60}"
stage light train_light.py --run "$run" --device "$device" --threads "$threads" --minutes "${LIGHT:-40}"
"$python" "$here/export.py" --run "$run" --to "$to"
