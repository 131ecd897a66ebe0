#!/usr/bin/env python3
"""Has videos made for prompts and says how often the judge sees what was asked.

    judge_prompts.py UNREEL [--prompts FILE] [--subset ci] [--count N] [--seed N] [--keep FOLDER]
                     [--want KIND=PERCENT,...] [--arguments "MORE ARGUMENTS OF unreel generate"]

A line of FILE is "KIND=NAME,...<TAB>prompt", before it "ci " for the subset. Exit code 1 if a share is
below what is wanted."""
import argparse
import collections
import os
import shlex
import subprocess
import sys
import tempfile
import time

import judge
import y4m

HERE = os.path.dirname(os.path.abspath(__file__))
WANTED = 'time=80,ground=80,color=80,motion=80'


def read_prompts(name, subset):
    """[({kind: name}, prompt)]"""
    prompts = []
    with open(name, encoding='utf-8') as lines:
        for number, line in enumerate(lines, 1):
            line = line.rstrip('\n')
            if not line or line.startswith('#'):
                continue
            marked = line.startswith('ci ')
            told, tab, prompt = line[3 * marked:].partition('\t')
            if not tab:
                raise ValueError(f'{name}:{number}: there is no tab before the prompt')
            if marked or subset != 'ci':
                prompts.append((judge.expectation(told), prompt))
    return prompts


def generate(unreel, prompt, seed, output, more):
    made = subprocess.run([unreel, 'generate', '--prompt', prompt, '--output', output,
                           '--num-output-frames', '24', '--seed', str(seed), '--quiet', *more],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors='replace')
    if made.returncode:
        raise RuntimeError(f'unreel generate: exit code {made.returncode}\n{made.stdout.strip()}')


def table(right, asked, instead):
    print(f'{"kind":8} {"right":>6} {"asked":>6} {"share":>8}   most often seen instead')
    for kind in judge.KINDS:
        if asked[kind]:
            others = ', '.join(f'{a} as {b} ({n})' for (a, b), n in instead[kind].most_common(3))
            print(f'{kind:8} {right[kind]:6} {asked[kind]:6} {100 * right[kind] / asked[kind]:7.1f} %'
                  f'   {others}'.rstrip())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('unreel')
    parser.add_argument('--prompts', default=os.path.join(HERE, 'prompts.txt'))
    parser.add_argument('--subset', choices=('all', 'ci'), default='all')
    parser.add_argument('--count', type=int, help='only the first N prompts')
    parser.add_argument('--seed', type=int, default=1, help='of the first prompt; the next has the next')
    parser.add_argument('--keep', help='folder in which the videos stay')
    parser.add_argument('--want', default=WANTED, help=f'percentages (default: {WANTED})')
    parser.add_argument('--arguments', default='', help='more arguments of unreel generate')
    options = parser.parse_args()
    wanted = {k: float(v) for k, _, v in (w.partition('=') for w in options.want.split(',') if w)}
    prompts = read_prompts(options.prompts, options.subset)[:options.count]
    right, asked = collections.Counter(), collections.Counter()
    instead = collections.defaultdict(collections.Counter)
    with tempfile.TemporaryDirectory(prefix='unreel-judge-') as scratch:
        folder = options.keep or scratch
        os.makedirs(folder, exist_ok=True)
        for number, (expected, prompt) in enumerate(prompts):
            video = os.path.join(folder, f'{number + 1:03}.y4m')
            begun = time.monotonic()
            generate(options.unreel, prompt, options.seed + number, video,
                     shlex.split(options.arguments))
            took = time.monotonic() - begun
            seen = judge.report(y4m.read(video))
            if not options.keep:
                os.remove(video)
            bad = judge.wrong(seen, expected)
            asked.update(list(expected))
            right.update(k for k in expected if k not in bad)
            for kind in bad:
                instead[kind][expected[kind], seen[kind]['is']] += 1
            print(f'{number + 1:3} {took:5.1f} s  {prompt}',
                  *(f'\n      {kind}: {seen[kind]["is"]} instead of {expected[kind]} '
                    f'(confidence {seen[kind]["confidence"]:.2f})' for kind in bad), flush=True)
    table(right, asked, instead)
    passed = failed = 0
    for kind, share in wanted.items():
        if asked[kind] and 100 * right[kind] / asked[kind] >= share:
            passed += 1
        else:
            failed += 1
            print(f'failed: {kind}: {share:g} % wanted')
    print(f'{passed} passed, {failed} failed')
    return 1 if failed else 0


if __name__ == '__main__':
    try:
        sys.exit(main())
    except (OSError, ValueError, RuntimeError) as error:
        print(f'judge_prompts.py: {error}\n0 passed, 1 failed')
        sys.exit(1)
