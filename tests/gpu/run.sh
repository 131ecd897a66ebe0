#!/bin/bash
# Builds and runs everything that needs a GPU, on a machine with a CUDA toolkit (12.8 or later), a C and
# C++ compiler, Meson and ninja; cuDNN 9 (best from 9.15 on) for speed. What else is missing is left out.
#
#   tests/gpu/run.sh [BUILD_FOLDER]      default: build-gpu
#
# What is worth most comes first. Whether operations and recorded results are right: all at once, as nothing
# of it is timed; then times at the window of 21 frames in bf16 and, from compute capability 8.9 on, fp8,
# plain PyTorch, other windows, and the kernels one by one. Each part has its own limit, none begins after
# SECONDS_MAX (default 540), and what fails or takes too long is noted and passed over. PARTS names what is
# done, in that order (default: "right bf16 fp8 torch windows kernels"): a second call on the same machine
# goes on where the first had no time left.
#
# Few and small files go to $OUT (default: BUILD_FOLDER/results): summary.txt, log.txt, bench-*.json,
# torch.txt, kernels.txt, choices.tgz. ARCHS names the architectures to build for (default: that of the
# GPU), UNREEL_CACHE a folder for the libraries' choices; SHAPE=tiny SIZE=64x64 tries the script itself.
#
# Exit code 77: no GPU (everything is built nevertheless); else 0 only if nothing failed.
set -uo pipefail
cd "$(dirname "$0")/../.."
build=${1:-build-gpu}
out=${OUT:-$build/results}
limit=${SECONDS_MAX:-540}
cache=${UNREEL_CACHE:-$build/choices}
shape=${SHAPE:-wan2.1-1.3b}
size=${SIZE:-832x480}
parts=${PARTS:-right bf16 fp8 torch windows kernels}
failed=0
PATH=$PATH:/usr/local/nvidia/bin:/usr/local/cuda/bin
mkdir -p "$out" "$build"
log=$out/log.txt
summary=$out/summary.txt
: > "$log"
: > "$summary"

say() { printf '%4d s  %s\n' "$SECONDS" "$*" | tee -a "$summary"; }

declare -A code_of # exit codes, by name

# report NAME CODE FILE: what a command printed into the log, its last line into the summary.
report() {
    local name=$1 code=$2 file=$3
    code_of[$name]=$code
    printf '\n== %s\n' "$name" | cat - "$file" >> "$log"
    if [ "$code" = 0 ]; then
        say "$name: $(tail -1 "$file" | cut -c1-150)"
    else
        say "$name: FAILED ($([ "$code" = 124 ] && echo "took longer than it may" || echo "exit code $code")): $(tail -1 "$file" | cut -c1-150)"
        grep -m 3 -E 'failed:|error|FAIL' "$file" | cut -c1-200 | sed 's/^/        /' | tee -a "$summary"
        failed=$((failed + 1))
    fi
    return "$code"
}

# begin SECONDS NAME COMMAND...: beside what was begun before; finish waits for all and reports them.
begun=()
begin() {
    local seconds=$1 name=$2 left=$((limit - SECONDS)) file=$build/part-${#begun[@]}
    shift 2
    if [ "$left" -lt 5 ]; then
        say "$name: no time left"
        code_of[$name]=124
        failed=$((failed + 1))
        return 1
    fi
    begun+=("$name")
    {
        timeout -k 5 $((seconds < left ? seconds : left)) "$@" > "$file.txt" 2>&1
        echo $? > "$file.code"
    } &
}
finish() {
    local i code=0
    wait
    for i in "${!begun[@]}"; do
        report "${begun[i]}" "$(cat "$build/part-$i.code")" "$build/part-$i.txt" || code=1
    done
    begun=()
    return $code
}

# part SECONDS NAME COMMAND...: alone.
part() {
    begin "$@" && finish
}

# cuBLASLt and cuDNN are also found beside nvcc and among Python's packages.
libraries() {
    nvcc --dryrun -c -x cu /dev/null 2>&1 | sed -n 's/^#\$ TOP=\(.*\)/\1\/lib64\n\1\/lib/p'
    python3 - <<'PYTHON' 2>/dev/null
import glob, os, site, sys
for root in [*site.getsitepackages(), *sys.path]:
    for name in ("cublasLt", "cudnn"):
        for path in glob.glob(f"{root}/nvidia/*/lib/lib{name}.so*"):
            print(os.path.dirname(path))
PYTHON
}
own=${LD_LIBRARY_PATH:-}
for folder in $(libraries | sort -u); do
    [ -d "$folder" ] && LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder
done
export LD_LIBRARY_PATH

gpu=$(nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.max.sm,memory.total,compute_cap --format=csv,noheader 2>/dev/null | head -1)
capability=${gpu##*, }
case ${capability:-none} in 8.9 | 9.* | 1?.*) fp8=fp8 ;; *) fp8= ;; esac
case ${capability:-none} in
8.0) default=80+ptx ;; 8.9) default=89 ;; 9.0) default=90a ;; 12.0) default=120+ptx ;; *) default= ;;
esac
ARCHS=${ARCHS:-$default}
say "GPU: ${gpu:-none}; $(nvcc --version 2>/dev/null | sed -n 's/.*release/nvcc/p')"

# ---- build -------------------------------------------------------------------------------------------

[ -f "$build/build.ninja" ] ||
    part 60 configure meson setup "$build" -Dcuda=enabled -Dgstreamer=disabled -Dweb=disabled \
        -Dsdl2=disabled -Donednn=disabled ${ARCHS:+"-Dgpu_archs=$ARCHS"} || { cat "$log"; exit 1; }
unreel=$build/tools/unreel
module=$build/src/unreel_cuda.so
programs=("tests/gpu/test_gpu_kernels_fused" "tests/gpu/host/test_host_quantised")
for name in elementwise norm rope picture linear conv attention forward; do
    programs+=("tests/gpu/test_gpu_kernels_$name" "tests/gpu/host/test_host_$name")
done
if [ -z "$gpu" ]; then
    limit=$((SECONDS + 1800))
    part 900 build ninja -C "$build" || { tail -40 "$log"; exit 1; }
    part 1800 "without a GPU" meson test -C "$build" --no-rebuild --suite gpu
    say "no GPU: built, and tested without one; $failed failed"
    [ "$failed" = 0 ] && exit 77
    exit 1
fi
part 300 build ninja -C "$build" tools/unreel src/unreel_cuda.so || { tail -40 "$log"; exit 1; }

# ---- what is right -------------------------------------------------------------------------------------

# One that cannot be built does not stop the others.
build_tests() {
    part 120 "build of tests" ninja -k 0 -C "$build" "${programs[@]}"
}

check() {
    begin 75 "check $1 $(basename "$2")${3:+ without $3}" "$unreel" check --device cuda --dtype "$1" \
        --device-cache "$cache" --device-without "${3:-}" "$2"
}

# Operations against references in double precision, and the original program's results.
right() {
    build_tests
    for name in attention conv linear ${fp8:+quantised} forward norm rope elementwise picture; do
        begin 75 "operations: $name" "$build/tests/gpu/host/test_host_$name" --device cuda --module "$module"
    done
    begin 75 "kernels: fused" "$build/tests/gpu/test_gpu_kernels_fused" --device kernels
    for dtype in f32 bf16 $fp8; do
        for folder in tests/golden/*/; do
            check $dtype "$folder"
        done
    done
    # A session shows what it would without a second backend. In f32, which needs few plans.
    if grep -q 'libsentencepiece\.[as]' "$build/build.ninja" && grep -q 'libyaml\.[as]' "$build/build.ninja"; then
        begin 75 "decoding beside denoising" sh -c 'for without in "" beside; do
                rm -f "$2-$without.y4m"
                "$0" generate --device cuda --dtype f32 --device-cache "$1" --device-without "$without" \
                    --prompt "a red house by the sea" --num-output-frames 21 -o "$2-$without.y4m" || exit 1
            done; cmp "$2-.y4m" "$2-beside.y4m" && wc -c "$2-.y4m"' "$unreel" "$cache" "$build/shown"
    else
        say "decoding beside denoising: left out, this build reads no prompts or no configurations"
    fi
    finish
    # Which part is at fault? What was slow, while plans are made, is not wrong.
    for dtype in f32 bf16 $fp8; do
        for folder in tests/golden/*/; do
            case ${code_of["check $dtype $(basename "$folder")"]:-0} in 0 | 124) continue ;; esac
            for each in graphs fused lengths cudnn cublaslt; do
                check $dtype "$folder" $each
            done
        done
    done
    finish
    grep -h -o 'cuda: .*' "$log" | grep -E 'slow|cannot be loaded' | sort | uniq -c | sort -rn | head -8 |
        sed 's/^/        /' | tee -a "$summary"
}

# ---- times and memory, made-up weights of the real shape ------------------------------------------------

# The figures of a run, from its JSON.
figures() {
    python3 - "$1" <<'PYTHON'
import json, sys
b = json.load(open(sys.argv[1]))
s = b["stream"]
p = {each["name"]: each for each in s["parts"]}
ms = lambda name: f"{1e3 * p[name]['p50']:.1f} (p99 {1e3 * p[name]['p99']:.1f})"
gib = lambda key: f"{b.get(key, 0) / 2 ** 30:.2f}"
rate, first = s["pictures_per_second"], s["first_picture"]
made = p["denoise"]["mean"] + p["cache forward"]["mean"]
peak = b["peak_flops"]
share = lambda flops, seconds: f"{1e-12 * flops / seconds:.0f} TFLOP/s, {100 * flops / seconds / peak:.0f} %" if peak else "?"
print(f"device {b.get('device_name')}, {b['type']}, window {b['window']}, {s['chunks']} chunks, peak {1e-12 * peak:.0f} TFLOP/s")
print(f"ms a chunk: denoise {ms('denoise')}, cache forward {ms('cache forward')}, vae {ms('vae decode')} "
      f"+ pictures {ms('vae pictures')}, light {ms('light decode')}")
print(f"transformer {share(s['flops']['transformer'], made)}; vae {share(s['flops']['vae'], p['vae decode']['mean'])}")
for of in ("transformer", "vae"):
    total = sum(o["seconds"] for o in s["operations_" + of])
    print(f"{of} by operation, one by one: " + ", ".join(
        f"{o['name']} {1e3 * o['seconds']:.1f} ms ({100 * o['seconds'] / total:.0f} %"
        + (f", {1e-12 * o['flops'] / o['seconds']:.0f} TFLOP/s)" if o["flops"] else ")")
        for o in sorted(s["operations_" + of], key=lambda o: -o["seconds"])[:6]))
print(f"{s['replayed']} of {s['forwards']} forwards and {s['passes_replayed']} of {s['passes']} decoder passes "
      f"replayed; warm-up {s['seconds_warm_up']:.1f} s; GiB: weights "
      f"{gib('bytes_weights')}, caches {gib('bytes_cache')}, work {gib('bytes_work')}, scratch {gib('bytes_scratch')}, "
      f"in use {(b.get('device_bytes', 0) - b.get('device_free', 0)) / 2 ** 30:.2f}")
print(f"first picture {1e3 * first['vae']:.0f} ms, light {1e3 * first['light']:.0f}; "
      f"pictures/s: vae {rate['vae']:.2f} ({s['beside']:.2f} beside denoising), light {rate['light']:.2f}, none {rate['none']:.2f}")
PYTHON
}

# bench WINDOW SECONDS [DTYPE]
bench() {
    local json=bench-$1${3:+-$3}.json
    part "$2" "bench, window $1${3:+, $3}" sh -c '"$0" bench --device cuda --device-cache "$1" --shape "$4" \
        --size "$5" --dtype "$6" --bench-stages stream --bench-window $2 --bench-chunks 20 --json > "$3.part" &&
        mv "$3.part" "$3" && wc -c "$3"' "$unreel" "$cache" "$1" "$build/$json" "$shape" "$size" "${3:-bf16}" || return 1
    figures "$build/$json" 2>&1 | sed 's/^/        /' | tee -a "$summary"
    [ "$1" = 9 ] || cp "$build/$json" "$out"
}

# Without decoders, for which cuDNN compiles most: soon there, whatever comes after it.
transformer() {
    part 90 "bench, transformer" sh -c '"$0" bench --device cuda --device-cache "$1" --shape "$3" --size "$4" \
        --bench-stages transformer --bench-chunks 20 --json > "$2" && python3 -c "
import json, sys
for s in json.load(open(sys.argv[1]))[\"stages\"]:
    print(s[\"name\"], s[\"what\"], \"p50 %.2f ms, p99 %.2f, %.0f TFLOP/s\" % (
        1e3 * s[\"p50\"], 1e3 * s[\"p99\"], 1e-12 * s[\"flops\"] / s[\"p50\"]), end=\"; \")
print()" "$2"' "$unreel" "$cache" "$build/bench-transformer.json" "$shape" "$size"
}

# Plans are kept as they are made: a second try gets further.
bf16() {
    transformer
    bench 21 270 || bench 21 150 || cp "$build/bench-transformer.json" "$out"
}

fp8() {
    [ -z "$fp8" ] || bench 21 120 fp8
}

# With its own libraries.
torch() {
    env LD_LIBRARY_PATH="$own" python3 -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2> /dev/null || {
        say "plain PyTorch: left out, it is not installed or sees no GPU"
        return 0
    }
    part 150 "plain PyTorch" env LD_LIBRARY_PATH="$own" sh -c 'bench=; [ -s "$0" ] && bench="--bench $0"
        python3 tests/gpu/compare_torch.py $bench --table "$1" --shape "$2" --size "$3"' \
        "$build/bench-21.json" "$out/torch.txt" "$shape" "$size"
    [ -f "$out/torch.txt" ] && sed 's/^/        /' "$out/torch.txt" | tee -a "$summary"
}

windows() {
    bench 12 90
    bench 9 90
}

# ---- which kernels a forward is, and every kernel on its own -------------------------------------------

kernels() {
    if command -v ncu > /dev/null; then
        part 60 "kernels of two layers" sh -c 'ncu --clock-control none --csv --metrics gpu__time_duration.sum \
            --launch-skip 260 --launch-count 300 "$0" bench --device cuda --device-cache "$1" \
            --shape "$3" --size "$4" --bench-stages transformer --bench-blocks 2 --bench-chunks 2 > "$2" &&
            wc -l "$2"' "$unreel" "$cache" "$build/ncu.csv" "$shape" "$size" &&
            python3 - "$build/ncu.csv" <<'PYTHON' | tee "$out/kernels.txt" | head -12 | sed 's/^/        /' | tee -a "$summary"
import collections, csv, sys
lines = [line for line in open(sys.argv[1]) if line.startswith('"')]
time, calls = collections.Counter(), collections.Counter()
for row in csv.DictReader(lines):
    name = row["Kernel Name"].split("(")[0][:100]
    time[name] += float(row["Metric Value"].replace(",", ""))
    calls[name] += 1
total = sum(time.values())
for name, t in time.most_common(40):
    print(f"{100 * t / total:5.1f} %  {1e-3 * t / calls[name]:9.1f} us x {calls[name]:4}  {name}")
PYTHON
    fi
    build_tests
    for name in attention conv linear forward norm rope elementwise picture; do
        begin 45 "kernels: $name" "$build/tests/gpu/test_gpu_kernels_$name" --device kernels
    done
    finish
}

# The libraries' choices: unpacked into a folder that UNREEL_CACHE names, they spare compiling.
for each in $parts; do
    "$each"
    [ -d "$cache" ] && tar -czf "$out/choices.tgz" -C "$cache" .
done
say "$failed failed"
[ "$failed" = 0 ]
