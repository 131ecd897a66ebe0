#!/bin/bash
# The part of tools/test.sh --long that needs builds of its own. Called by it with a folder for logs;
# every test leaves a file there that ends in "N passed, M failed".
#
# UNREEL_FUZZ_SECONDS (default 300) is how long each format is fuzzed.
set -uo pipefail
cd "$(dirname "$0")/.."

logs=$1/long
rm -rf "$logs" && mkdir -p "$logs"

build_fuzzers() {
    [ -f build-fuzz/build.ninja ] || CC=clang CXX=clang++ meson setup build-fuzz -Dfuzz=true \
        -Db_sanitize=address,undefined -Db_lundef=false -Dbuildtype=debugoptimized \
        -Dgstreamer=disabled -Dc_args=-fsanitize=fuzzer-no-link -Dcpp_args=-fsanitize=fuzzer-no-link
    ninja -C build-fuzz
}

fuzz() { # EXECUTABLE
    local name corpus
    name=$(basename "$1")
    corpus=tests/fuzz/corpus/${name#fuzz_}
    mkdir -p "build-fuzz/found/$name" # new inputs stay here, and those that crash
    if "$1" -max_total_time="${UNREEL_FUZZ_SECONDS:-300}" -rss_limit_mb=4096 -timeout=20 \
        -print_final_stats=1 -verbosity=0 -artifact_prefix="build-fuzz/found/$name-" \
        "build-fuzz/found/$name" "$corpus" </dev/null; then
        echo "1 passed, 0 failed"
    else
        echo "0 passed, 1 failed"
    fi
}

if build_fuzzers >"$logs/fuzz_build" 2>&1; then
    echo "1 passed, 0 failed" >>"$logs/fuzz_build"
    for target in build-fuzz/tests/fuzz/fuzz_*; do
        if [ -x "$target" ] && [ -f "$target" ]; then
            fuzz "$target" >"$logs/$(basename "$target")" 2>&1
        fi
    done
else
    echo "0 passed, 1 failed" >>"$logs/fuzz_build"
fi

# Sessions steered from several threads: 1,000 random orders, and the window computed again every 50
# chunks for 5,000 latent frames; the threads under ThreadSanitizer, the memory without.
steer() { # BUILD ORDERS LATENT_FRAMES
    "$1/tests/engine/test_steer_long" tests/golden/nano "$1" "$2" "$3" </dev/null
}

if { [ -f build-tsan/build.ninja ] || meson setup build-tsan -Db_sanitize=thread -Db_lundef=false \
        -Dbuildtype=debugoptimized; } >"$logs/tsan_build" 2>&1 &&
    ninja -C build-tsan tests/engine/test_steer_long tests/live/test_player \
        tests/tools/glib_threads.so >>"$logs/tsan_build" 2>&1; then
    echo "1 passed, 0 failed" >>"$logs/tsan_build"
    TSAN_OPTIONS=halt_on_error=1 steer build-tsan 1000 450 >"$logs/steer_threads" 2>&1
    TSAN_OPTIONS=suppressions=tests/tools/tsan.supp LD_PRELOAD=$PWD/build-tsan/tests/tools/glib_threads.so \
        build-tsan/tests/live/test_player >"$logs/player_threads" 2>&1 ||
        echo "0 passed, 1 failed" >>"$logs/player_threads"
else
    echo "0 passed, 1 failed" >>"$logs/tsan_build"
fi
steer build 40 5001 >"$logs/steer_soak" 2>&1

# On another processor, emulated: operations, files, models against recorded results.
{
    { [ -f build-aarch64/build.ninja ] || meson setup build-aarch64 --cross-file tests/aarch64.txt -Dcuda=disabled \
        -Dgstreamer=disabled -Dweb=disabled -Dsdl2=disabled -Donednn=disabled; } &&
        ninja -C build-aarch64 &&
        meson test -C build-aarch64 --no-rebuild --timeout-multiplier 20 --num-processes 2 json options yaml \
            safetensors torch weights elementwise norm rope picture linear conv attention forward tensor \
            thread_pool encoder rollout parts guidance scenes emulate
} >"$logs/aarch64" 2>&1
code=$?
good=$(grep -cE '^ *[0-9]+/[0-9]+ .* OK ' "$logs/aarch64")
bad=$(grep -cE '^ *[0-9]+/[0-9]+ .* (FAIL|TIMEOUT|ERROR) ' "$logs/aarch64")
echo "$good passed, $((code && !bad ? 1 : bad)) failed" >>"$logs/aarch64"

# The judge on scenes that no shorter test has, as they are and degraded.
judge_python=python3
python3 -c 'import numpy' 2>/dev/null || judge_python=/usr/bin/python3
judge() { # SCENES ARGUMENT...
    "$judge_python" tests/judge/test_judge.py build/tools/train/world/postcard-world --first 100001 \
        --scenes "$@" </dev/null
}
judge 400 >"$logs/judge" 2>&1
judge 400 --degraded >"$logs/judge_degraded" 2>&1

export UNREEL=$PWD/build/tools/unreel SOURCE=$PWD PYTHONPATH=$PWD/tests/tools
python3 tests/tools/test_soak.py >"$logs/soak" 2>&1
python3 tests/live/test_live_soak.py >"$logs/live_soak" 2>&1
python3 tests/live/test_live_change.py >"$logs/live_change" 2>&1

# The element's test again and again.
repeat=${UNREEL_REPEAT:-100}
meson test -C build --no-rebuild --repeat "$repeat" unreelsrc >"$logs/unreelsrc" 2>&1
good=$(grep -cE '^ *[0-9]+/[0-9]+ .* OK ' "$logs/unreelsrc")
echo "$good passed, $((repeat - good)) failed" >>"$logs/unreelsrc"
exit 0
