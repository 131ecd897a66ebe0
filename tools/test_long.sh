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

UNREEL=$PWD/build/tools/unreel SOURCE=$PWD python3 tests/tools/test_soak.py >"$logs/soak" 2>&1
exit 0
