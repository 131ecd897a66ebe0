#!/bin/bash
# Builds and runs everything that needs a GPU, on a machine with a CUDA toolkit (12.8 or later), a C and
# C++ compiler, Meson and ninja; cuDNN 9.13.1 or later for speed. What else is missing is left out.
#
#   tests/gpu/run.sh [BUILD_FOLDER]      default: build-gpu; ARCHS=90a builds for one architecture
#
# Exit code 77: no GPU (everything is built nevertheless); else 0 only if nothing failed.
set -uo pipefail
cd "$(dirname "$0")/../.."
build=${1:-build-gpu}
failed=0
# cuBLASLt and cuDNN are also found beside nvcc
toolkit=$(nvcc --dryrun -c -x cu /dev/null 2>&1 | sed -n 's/^#\$ TOP=//p')
if [ -n "$toolkit" ]; then
    export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$toolkit/lib64:$toolkit/lib
fi

[ -f "$build/build.ninja" ] ||
    meson setup "$build" -Dcuda=enabled ${ARCHS:+"-Dgpu_archs=$ARCHS"} || exit 1
ninja -C "$build" || exit 1

step() {
    printf '\n== %s\n' "$*"
    "$@" || { echo "FAILED: $*"; failed=$((failed + 1)); }
}

# What needs no GPU: kernels and host code in emulation, cuDNN's opinion of the graphs.
step meson test -C "$build" --no-rebuild --suite gpu --print-errorlogs

if ! nvidia-smi -L 2>/dev/null | grep -q GPU; then
    echo "no GPU: built, and tested without one; $failed failed"
    [ "$failed" = 0 ] && exit 77
    exit 1
fi
nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.max.sm,memory.total --format=csv

# Every operation against references in double precision, in f32 and bf16.
step meson test -C "$build" --no-rebuild --suite device --print-errorlogs
for name in $(cd "$build/tests/gpu/host" && ls -d test_host_* | grep -v '\.p$'); do
    printf '%-28s ' "$name"
    "$build/tests/gpu/host/$name" --device cuda --module "$build/src/unreel_cuda.so" | tail -1
done

# The original program's results.
for folder in tests/golden/*/; do
    for dtype in f32 bf16; do
        step "$build/tools/unreel" check --device cuda --dtype $dtype "$folder"
    done
done

# Times and memory with made-up weights of the real shape, at three windows.
for window in 9 12 21; do
    step "$build/tools/unreel" bench --device cuda --shape wan2.1-1.3b \
        --bench_window $window --bench_chunks 30
done
echo "$failed failed"
[ "$failed" = 0 ]
