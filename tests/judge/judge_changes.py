#!/usr/bin/env python3
"""Changes prompts while videos are made and says how often the judge sees the change in time, and how
often something else changed with it.

    judge_changes.py JUDGE_CHANGE MODEL [--count 50] [--how recache] [--seed N] [--want PERCENT]
                     [--keep FOLDER] [OPTION=VALUE...]

A prompt asks for a scene; the next one for the same scene at another time of day, in other weather or
with another colour. Exit code 1 if fewer than --want percent of the changes are right."""
import argparse
import collections
import io
import os
import random
import subprocess
import sys

import changes
import prompts
import y4m

AFTER = 33         # picture at which the change is asked for
LATENT_FRAMES = 48  # of a video: 12 seconds
KINDS = ('time', 'weather', 'color')


def cases(count, seed):
    """[(first prompt, next prompt, {kind: name} of what changes)]"""
    rng = random.Random(seed)
    values = {'time': list(prompts.TIME), 'weather': list(prompts.WEATHER), 'color': prompts.COLOURS}
    found = []
    while len(found) < count:
        kind = KINDS[len(found) % len(KINDS)]
        thing = rng.choice(list(prompts.THINGS))
        grounds, motions, _ = prompts.THINGS[thing]
        scene = {'thing': thing, 'motion': rng.choice(motions), 'ground': rng.choice(grounds),
                 'speed': rng.choice(list(prompts.SPEED)), **{k: rng.choice(values[k]) for k in KINDS}}
        after = {**scene, kind: rng.choice([v for v in values[kind] if v != scene[kind]])}
        if any(s['weather'] == 'snow' and s['ground'] == 'desert' for s in (scene, after)):
            continue
        state = rng.getstate()  # the same words for what stays
        first, first_text = prompts.line(rng, **scene)
        rng.setstate(state)
        told, text = prompts.line(rng, **after)
        if f'{kind}=' in told and f'{kind}=' in first:  # a clear sky may go unsaid
            found.append((first_text, text, {kind: after[kind]}))
    return found


def make(program, first, then, how, options):
    """(Y4M, number of the first picture under the new prompt)"""
    made = subprocess.run([program, first, then, how, str(AFTER), *options], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    lines = made.stderr.decode(errors='replace').split('\n')
    if made.returncode:
        raise RuntimeError(f'judge-change: exit code {made.returncode}: {" ".join(lines).strip()}')
    return made.stdout, int(lines[-2])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('program')
    parser.add_argument('model')
    parser.add_argument('options', nargs='*')
    parser.add_argument('--count', type=int, default=50)
    parser.add_argument('--how', default='recache', choices=('blend', 'recache', 'cut'))
    parser.add_argument('--seed', type=int, default=31415)
    parser.add_argument('--want', type=float, default=90)
    parser.add_argument('--keep', help='folder in which the videos stay')
    options = parser.parse_intermixed_args()
    asked, right, others = collections.Counter(), collections.Counter(), collections.Counter()
    stayed = 0
    for number, (first, then, expected) in enumerate(cases(options.count, options.seed)):
        video, at = make(options.program, first, then, options.how,
                         [f'model={options.model}', f'num_output_frames={LATENT_FRAMES}',
                          f'seed={number}', *options.options])
        if options.keep:
            os.makedirs(options.keep, exist_ok=True)
            with open(os.path.join(options.keep, f'{number:02}.y4m'), 'wb') as out:
                out.write(video)
        result = changes.compare(y4m.Clip(io.BytesIO(video)), at, expected)
        (kind, name), = expected.items()
        asked[kind] += 1
        right[kind] += not result['late']
        others.update(result['other'])
        stayed += not result['other']
        print(f"{number + 1:3} {kind}: {result['before'][kind]} -> {result['soon'][kind]}"
              f"{f', not {name}' if result['late'] else ''}"
              f"{', also changed: ' + ' '.join(result['other']) if result['other'] else ''}", flush=True)
    for kind in KINDS:
        print(f'{kind:8} {right[kind]:3} of {asked[kind]}')
    total, share = sum(asked.values()), 100 * sum(right.values()) / max(1, sum(asked.values()))
    print(f'asked for and seen within 2 s: {share:.0f} % of {total}; nothing else changed: '
          f'{100 * stayed / max(1, total):.0f} % (changed unasked: {dict(others)})')
    print('1 passed, 0 failed' if share >= options.want else '0 passed, 1 failed')
    return share < options.want


if __name__ == '__main__':
    try:
        sys.exit(main())
    except (OSError, ValueError, RuntimeError) as error:
        print(f'judge_changes.py: {error}\n0 passed, 1 failed')
        sys.exit(1)
