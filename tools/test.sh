#!/bin/bash
# Installs what is missing, builds and runs all tests. The last line is "N passed, M failed"; the exit
# code is 0 only if nothing failed.
#
#   tools/test.sh [--long]     --long adds what takes longer than a few minutes: fuzzing, soak, kills
set -uo pipefail
cd "$(dirname "$0")/.."

long=
case ${1:-} in
'') ;;
--long) long=1 ;;
*) sed -n '2,5s/^# \{0,1\}//p' "$0" && exit 2 ;;
esac

passed=0 failed=0
logs=build/test-logs

finish() {
    echo "$passed passed, $failed failed"
    [ "$failed" = 0 ] && [ "$passed" != 0 ]
    exit
}

heading() { # with the seconds since the beginning
    printf '\n== %s (%d s)\n' "$*" "$SECONDS"
}

# A step whose failure leaves nothing to test.
must() {
    if ! "$@"; then
        echo "FAILED: $*"
        failed=$((failed + 1))
        finish
    fi
}

# Adds the last "N passed, M failed" of a program's output; a program that fails without one counts
# as one failure.
count() { # NAME EXIT_CODE OUTPUT_FILE
    local line p=0 f=0
    line=$(grep -aE '^[0-9]+ passed, [0-9]+ failed$' "$3" | tail -1)
    if [ -n "$line" ]; then
        p=${line%% *}
        f=${line#*, }
        f=${f%% *}
    fi
    if [ "$2" != 0 ] && [ "$f" = 0 ]; then
        f=1
    elif [ "$2" = 0 ] && [ -z "$line" ]; then
        p=1
    fi
    passed=$((passed + p)) failed=$((failed + f))
    printf '%-40s %s passed, %s failed\n' "$1" "$p" "$f"
    [ "$f" = 0 ] || { echo "---- output of $1 (exit code $2):"; tail -60 "$3"; echo "----"; }
}

# Runs Meson's tests and adds up what every one of them printed.
meson_tests() { # BUILD_FOLDER MESON_TEST_ARGUMENT...
    local folder=$1 name code file
    shift
    rm -f "$folder/meson-logs/testlog.json"
    meson test -C "$folder" --no-rebuild --num-processes 2 "$@" >"$logs/meson.txt" 2>&1
    if [ ! -s "$folder/meson-logs/testlog.json" ]; then
        echo "meson test did not run:" && cat "$logs/meson.txt"
        failed=$((failed + 1))
        return
    fi
    rm -rf "$logs/parts" && mkdir -p "$logs/parts"
    python3 - "$folder/meson-logs/testlog.json" "$logs/parts" <<'PYTHON'
import json, sys
with open(sys.argv[1], encoding='utf-8', errors='replace') as log:
    for number, line in enumerate(log):
        test = json.loads(line)
        good = test['result'] in ('OK', 'EXPECTEDFAIL')
        code = 77 if test['result'] == 'SKIP' else 0 if good else test.get('returncode') or 1
        name = test['name'].split(' / ')[-1]
        with open(f'{sys.argv[2]}/{number:04d}', 'w', errors='replace') as out:
            out.write((test.get('stdout') or '') + (test.get('stderr') or ''))
            if not good:
                out.write(f"\nmeson: {test['result']}\n")
        print(code, f'{number:04d}', name, file=open(f'{sys.argv[2]}/list', 'a'))
PYTHON
    while read -r code file name; do
        if [ "$code" = 77 ]; then
            printf '%-40s skipped: %s\n' "$name" "$(tail -1 "$logs/parts/$file")"
        else
            count "$name" "$code" "$logs/parts/$file"
        fi
    done <"$logs/parts/list"
}

# ---- build ----------------------------------------------------------------------------------

must tools/setup.sh build test
[ -f build/build.ninja ] || must meson setup build
must ninja -C build
mkdir -p "$logs"

# ---- tests ----------------------------------------------------------------------------------

heading "tests"
UNREEL_TEST_LONG=$long meson_tests build --timeout-multiplier $((long ? 10 : 3)) # a limit is for what hangs

heading "recorded results of the original program"
for folder in tests/golden/*/ ${UNREEL_GOLDEN:+"$UNREEL_GOLDEN"/*/}; do
    name=$(basename "$folder")
    [ -d "$folder" ] || continue
    [ "${folder#tests/}" != "$folder" ] || [ ! -d "tests/golden/$name" ] || continue
    for dtype in f32 bf16; do
        build/tools/unreel check --dtype $dtype "$folder" >"$logs/check" 2>&1
        count "check $name $dtype" $? "$logs/check"
    done
done

heading "tests with address and undefined-behaviour sanitizers"
# -g1: lines for call stacks; more takes a quarter of the time to compile.
[ -f build-asan/build.ninja ] || must meson setup build-asan -Db_sanitize=address,undefined \
    -Db_lundef=false -Dbuildtype=debugoptimized -Dc_args=-g1
must ninja -C build-asan
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 ASAN_OPTIONS=detect_leaks=1
meson_tests build-asan --no-suite tools --no-suite web --no-suite live --no-suite gst \
    --timeout-multiplier 5
# Only whole call stacks tell GLib's own leak from one of ours; they are slow.
export ASAN_OPTIONS=detect_leaks=1:fast_unwind_on_malloc=0
export LSAN_OPTIONS=print_suppressions=0:suppressions=$PWD/tests/tools/lsan.supp
meson_tests build-asan arguments outputs live_core live_player live_input 'web access' \
    'web control' 'web whep' ${long:+command} \
    --timeout-multiplier 10
# The element with no more of GStreamer than its test needs: others' plugins leak when they are looked at.
plugins=build-asan/few-plugins
rm -rf $plugins && mkdir $plugins
for name in coreelements app videoconvertscale; do
    ln -s "$(pkg-config --variable=pluginsdir gstreamer-1.0)/libgst$name.so" $plugins
done
GST_PLUGIN_SYSTEM_PATH_1_0=$PWD/$plugins meson_tests build-asan unreelsrc --timeout-multiplier 10
unset UBSAN_OPTIONS ASAN_OPTIONS LSAN_OPTIONS

if [ -n "$long" ]; then
    heading "long tests"
    must tools/setup.sh long
    must tools/test_long.sh "$logs" # leaves one file a test, which ends in its counts
    for file in "$logs"/long/*; do
        grep -q '^[0-9]* passed, 0 failed$' "$file"
        count "$(basename "$file")" $? "$file"
    done
fi

heading "all"
finish
