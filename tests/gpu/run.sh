#!/bin/bash
# Builds and runs everything that needs a GPU, on a machine with a CUDA toolkit (12.8 or later), a C and
# C++ compiler, Meson and ninja; cuDNN 9.13.1 or later for speed. What else is missing is left out.
#
#   tests/gpu/run.sh [BUILD_FOLDER]      default: build-gpu
#
# What is worth most comes first: operations, recorded results in f32, bf16 and, from compute capability
# 8.9 on, fp8, times at the window of 21 frames; each part has its own limit, none begins after SECONDS_MAX
# (default 540), and what fails or takes too long is noted and passed over. Few and small files go to $OUT
# (default: BUILD_FOLDER/results): summary.txt, log.txt, bench-*.json, torch.txt, kernels.txt, choices.tgz. ARCHS names the architectures to
# build for (default: that of the GPU), UNREEL_CACHE a folder for the libraries' choices; SHAPE=tiny
# SIZE=64x64 tries the script itself.
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
failed=0
last=0 # exit code of the newest part
PATH=$PATH:/usr/local/nvidia/bin
mkdir -p "$out" "$build"
log=$out/log.txt
summary=$out/summary.txt
: > "$log"
: > "$summary"

say() { printf '%4d s  %s\n' "$SECONDS" "$*" | tee -a "$summary"; }

# part SECONDS NAME COMMAND...: into the log, its last line into the summary.
part() {
    local seconds=$1 name=$2 code
    shift 2
    local left=$((limit - SECONDS))
    if [ "$left" -lt 5 ]; then
        say "$name: no time left"
        failed=$((failed + 1))
        return 1
    fi
    printf '\n== %s: %s\n' "$name" "$*" >> "$log"
    timeout -k 5 $((seconds < left ? seconds : left)) "$@" > "$build/part.txt" 2>&1
    code=$?
    last=$code
    cat "$build/part.txt" >> "$log"
    if [ $code = 0 ]; then
        say "$name: $(tail -1 "$build/part.txt" | cut -c1-150)"
    else
        say "$name: FAILED ($([ $code = 124 ] && echo "took longer than it may" || echo "exit code $code")): $(tail -1 "$build/part.txt" | cut -c1-150)"
        grep -m 3 -E 'failed:|error|FAIL' "$build/part.txt" | cut -c1-200 | sed 's/^/        /' | tee -a "$summary"
        failed=$((failed + 1))
    fi
    [ $code = 0 ]
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
programs=(tools/unreel src/unreel_cuda.so)
for name in elementwise norm rope picture linear conv attention forward; do
    programs+=("tests/gpu/test_gpu_kernels_$name" "tests/gpu/host/test_host_$name")
done
programs+=(tests/gpu/test_gpu_kernels_fused tests/gpu/host/test_host_quantised)
[ -n "$gpu" ] || programs=(all)
part 400 build ninja -C "$build" "${programs[@]}" || { tail -40 "$log"; exit 1; }
unreel=$build/tools/unreel
module=$build/src/unreel_cuda.so

if [ -z "$gpu" ]; then
    limit=$((SECONDS + 1800))
    part 1800 "without a GPU" meson test -C "$build" --no-rebuild --suite gpu
    say "no GPU: built, and tested without one; $failed failed"
    [ "$failed" = 0 ] && exit 77
    exit 1
fi

# ---- operations, against references in double precision ------------------------------------------------

for name in attention conv linear ${fp8:+quantised} forward norm rope elementwise picture; do
    part 60 "operations: $name" "$build/tests/gpu/host/test_host_$name" --device cuda --module "$module"
done
part 60 "kernels: fused" "$build/tests/gpu/test_gpu_kernels_fused" --device kernels

# ---- the original program's results --------------------------------------------------------------------

check() {
    part 60 "check $1 $(basename "$2")${3:+ without $3}" "$unreel" check --device cuda --dtype "$1" \
        --device-cache "$cache" --device-without "${3:-}" "$2"
}

for dtype in f32 bf16 $fp8; do
    good=yes
    for folder in tests/golden/*/; do
        check $dtype "$folder" || [ $last = 124 ] || good=no # slow, while plans are made, is not wrong
    done
    [ $good = yes ] && continue
    for each in graphs fused lengths cudnn cublaslt; do # which one is at fault?
        check $dtype tests/golden/nano $each
    done
done

# A session shows what it would without a second backend. In f32: plans for convolutions take minutes.
part 60 "decoding beside denoising" sh -c 'for without in "" beside; do
        rm -f "$2-$without.y4m"
        "$0" generate --device cuda --dtype f32 --device-cache "$1" --device-without "$without" \
            --prompt "a red house by the sea" --num-output-frames 21 -o "$2-$without.y4m" || exit 1
    done; cmp "$2-.y4m" "$2-beside.y4m" && wc -c "$2-.y4m"' "$unreel" "$cache" "$build/shown"

grep -h -o 'cuda: .*' "$log" | grep -E 'slow|cannot be loaded' | sort | uniq -c | head -5 | sed 's/^/        /' |
    tee -a "$summary"

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

bench() {
    local window=$1 seconds=$2 json=${3:-$out}/bench-$1${4:+-$4}.json
    part "$seconds" "bench, window $window${4:+, $4}" sh -c '"$0" bench --device cuda --device-cache "$1" \
        --shape "$4" --size "$5" --dtype "$6" --bench-stages stream --bench-window $2 --bench-chunks 30 --json > "$3" &&
        wc -c "$3"' "$unreel" "$cache" "$window" "$json" "$shape" "$size" "${4:-bf16}" &&
        { figures "$json" 2>&1 | sed 's/^/        /' | tee -a "$summary"; true; }
}

# The transformer alone needs no plans for convolutions, which take cuDNN minutes the first time.
part 90 "bench, transformer" sh -c '"$0" bench --device cuda --device-cache "$1" --shape "$3" --size "$4" \
    --bench-stages transformer --bench-chunks 30 --json > "$2" && python3 -c "
import json, sys
for s in json.load(open(sys.argv[1]))[\"stages\"]:
    print(s[\"name\"], s[\"what\"], \"p50 %.2f ms, p99 %.2f, %.0f TFLOP/s\" % (
        1e3 * s[\"p50\"], 1e3 * s[\"p99\"], 1e-12 * s[\"flops\"] / s[\"p50\"]), end=\"; \")
print()" "$2"' "$unreel" "$cache" "$out/bench-transformer.json" "$shape" "$size"
bench 21 240 || bench 21 150 # plans are kept as they are made: a second try gets further
[ -n "$fp8" ] && bench 21 90 "$out" fp8
if python3 -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
    part 150 "plain PyTorch" sh -c 'bench=; [ -s "$0" ] && bench="--bench $0"; python3 tests/gpu/compare_torch.py $bench \
        --table "$1" --shape "$2" --size "$3"' "$out/bench-21.json" "$out/torch.txt" "$shape" "$size"
    [ -f "$out/torch.txt" ] && sed 's/^/        /' "$out/torch.txt" | tee -a "$summary"
fi
bench 12 90
bench 9 90 "$build"

# ---- which kernels a forward is ---------------------------------------------------------------------

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

# ---- the rest: every kernel on its own -------------------------------------------------------------------

for name in attention conv linear forward norm rope elementwise picture; do
    part 45 "kernels: $name" "$build/tests/gpu/test_gpu_kernels_$name" --device kernels
done
# The libraries' choices: unpacked into a folder that UNREEL_CACHE names, they spare compiling.
[ -d "$cache" ] && tar -czf "$out/choices.tgz" -C "$cache" .
say "$failed failed"
[ "$failed" = 0 ]
