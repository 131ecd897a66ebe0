"""The judge against scenes whose attributes are known: how often it is right about each.

    test_judge.py WORLD [--scenes N] [--first SEED] [--degraded]

WORLD is postcard-world. --degraded: blurred, noisy and through x264, as a neural network's pictures
might be (needs ffmpeg)."""
import argparse
import collections
import concurrent.futures
import io
import json
import subprocess
import sys

import judge
import y4m

WANTED = {'color': 98, 'motion': 98, 'time': 98, 'ground': 98, 'weather': 95, 'speed': 90}
WANTED_DEGRADED = {'color': 95, 'motion': 95, 'time': 95, 'ground': 95, 'weather': 95, 'speed': 85}
FFMPEG = ['ffmpeg', '-nostdin', '-v', 'error', '-threads', '1']


def pipe(command, data):
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout


def degrade(video):
    coded = pipe(FFMPEG + ['-f', 'yuv4mpegpipe', '-i', '-', '-vf', 'gblur=sigma=1,noise=alls=8:allf=t',
                           '-c:v', 'libx264', '-preset', 'veryfast', '-crf', '28', '-threads', '1',
                           '-f', 'matroska', '-'], video)
    return pipe(FFMPEG + ['-f', 'matroska', '-i', '-', '-pix_fmt', 'yuv420p', '-f', 'yuv4mpegpipe',
                          '-'], coded)


def one(world, seed, degraded):
    """(what is there, what the judge says) of a scene."""
    made = subprocess.run([world, '--seed', str(seed)], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=True)
    there = json.loads(made.stderr)['first']
    there['speed'] = there['fast']
    video = degrade(made.stdout) if degraded else made.stdout
    return there, judge.report(y4m.Clip(io.BytesIO(video)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('world')
    parser.add_argument('--scenes', type=int, default=60)
    parser.add_argument('--first', type=int, default=7001)
    parser.add_argument('--degraded', action='store_true')
    options = parser.parse_args()
    seeds = range(options.first, options.first + options.scenes)
    right = collections.Counter()
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        jobs = [pool.submit(one, options.world, seed, options.degraded) for seed in seeds]
        for seed, job in zip(seeds, jobs):
            there, seen = job.result()
            bad = {k: seen[k]['is'] for k in judge.KINDS if seen[k]['is'] != there[k]}
            right.update(k for k in judge.KINDS if k not in bad)
            if bad:
                print(f'seed {seed}: {" ".join(there.values())}: judged', bad, flush=True)
    failed = 0
    for kind, wanted in (WANTED_DEGRADED if options.degraded else WANTED).items():
        share = 100 * right[kind] / options.scenes
        failed += share < wanted
        print(f'{kind:8} {share:6.2f} % right, {wanted} % wanted{"" if share >= wanted else ": failed"}')
    print(f'{len(WANTED) - failed} passed, {failed} failed')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
