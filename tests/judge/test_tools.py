"""drift.py, changes.py and judge.py as commands, on rendered scenes and on broken ones.

    test_tools.py WORLD"""
import io
import json
import os
import subprocess
import sys
import tempfile

import changes
import drift
import judge
import judge_prompts
import y4m

WORLD = sys.argv[1]
HERE = os.path.dirname(os.path.abspath(__file__))
counts = [0, 0]


def check(condition, what):
    counts[0 if condition else 1] += 1
    if not condition:
        print(f'failed: {what}', flush=True)


def render(*arguments):
    """(attributes, Y4M) of a scene."""
    made = subprocess.run([WORLD, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          check=True)
    return json.loads(made.stderr), made.stdout


def script(name, *arguments, data=b''):
    return subprocess.run([sys.executable, os.path.join(HERE, name), *arguments], input=data,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def edited(video, edit):
    """The video with edit(index, picture as bytearray, luma bytes) done to every picture."""
    head, *pictures = video.split(b'FRAME\n')
    size = y4m.Reader(io.BytesIO(video))
    luma = size.width * size.height
    out = [head]
    for index, picture in enumerate(pictures):
        picture = bytearray(picture)
        edit(index, picture, luma)
        out.append(bytes(picture))
    return b'FRAME\n'.join(out)


def test_judge():
    _, video = render('--seed', 3, 'color=red', 'motion=left', 'time=noon', 'ground=sea')
    good = script('judge.py', '--expect', 'color=red,motion=left,time=noon,ground=sea', data=video)
    check(good.returncode == 0, f'judge.py: {good.stdout}')
    bad = script('judge.py', '--expect', 'color=blue', data=video)
    check(bad.returncode == 1 and b'WRONG: color' in bad.stdout, f'judge.py, wrong: {bad.stdout}')
    check(script('judge.py', '--expect', 'color=brown', data=video).returncode == 2, 'unknown colour')
    check(script('judge.py', data=b'GIF89a').returncode == 2, 'no video')
    seen = json.loads(script('judge.py', '--json', data=video).stdout)
    check(seen['color']['is'] == 'red' and len(seen['path']) == 93, 'judge.py --json')


def test_nothing_moves():
    """A video of one picture has no motion, and drift says that nothing moves."""
    _, video = render('--seed', 3, '--pictures', 1, 'weather=clear')
    head, picture = video.split(b'FRAME\n')
    video = head + (b'FRAME\n' + picture) * 64
    seen = judge.report(y4m.Clip(io.BytesIO(video)))
    check(seen['motion']['is'] not in judge.KINDS['motion'], f'a still picture: {seen["motion"]}')
    minutes = drift.measure(io.BytesIO(video), 1)
    check(len(drift.flags(minutes)) == 4 and 'nothing moves' in drift.flags(minutes)[0],
          f'drift of a still picture: {drift.flags(minutes)}')


def test_drift():
    """Seconds instead of minutes, and a scene in which each has the same to show."""
    _, video = render('--seed', 5, '--pictures', 129, 'thing=ball', 'motion=bouncing', 'weather=rain')
    measure = lambda v: drift.flags(drift.measure(io.BytesIO(v), 4))
    check(measure(video) == [], f'a rendered scene: {measure(video)}')

    def fade(i, p, n):
        if i >= 64:
            p[:n] = bytes(int(16 + (b - 16) * 0.85) for b in p[:n])
    seen = measure(edited(video, fade))
    check(any('contrast' in f for f in seen) and any('brightness' in f for f in seen), f'faded: {seen}')

    def flicker(i, p, n):
        if i >= 9 and (i - 9) // 12 % 2:
            p[:n] = bytes(min(b + 6, 235) for b in p[:n])
    seen = measure(edited(video, flicker))
    check(any('across chunk borders' in f for f in seen), f'flicker at borders: {seen}')
    with tempfile.TemporaryDirectory() as folder:
        plot = os.path.join(folder, 'plot.svg')
        done = script('drift.py', '--minute', '4', '--svg', plot, data=video)
        check(done.returncode == 0 and open(plot).read().count('<polyline') == len(drift.NAMES),
              f'drift.py: {done.stdout}')


def test_changes():
    """Scenes whose time, weather or colour changes midway."""
    good = done = 0
    for seed in range(40, 64):
        there, video = render('--seed', seed, '--changes', '--pictures', 201)
        first, then, at = there['first'], there['then'], there['change']
        kind = next(k for k in first if first[k] != then[k])
        clip = y4m.Clip(io.BytesIO(video))
        if at < 30 or at > 101:  # a speed, or clouds, take more than two seconds to be seen
            continue
        done += 1
        result = changes.compare(clip, at, {kind: then[kind]})
        good += not result['late'] and not result['other']
        if result['late'] or result['other']:
            print(f'seed {seed}: {kind} from {first[kind]} to {then[kind]} at {at}: {result}')
        other = next(n for n in judge.KINDS[kind] if n not in (first[kind], then[kind]))
        check(changes.compare(clip, at, {kind: other})['late'] == [kind], f'seed {seed}: no {other} came')
    check(done >= 8 and good >= 0.9 * done, f'{good} of {done} changes')


def test_prompts():
    prompts = judge_prompts.read_prompts(os.path.join(HERE, 'prompts.txt'), 'all')
    check(len(prompts) == 200 and len({p for _, p in prompts}) == 200, 'the prompts differ')
    subset = judge_prompts.read_prompts(os.path.join(HERE, 'prompts.txt'), 'ci')
    for kind, names in judge.KINDS.items():
        asked = {told[kind] for told, _ in subset if kind in told}
        check(asked == set(names), f'the subset asks for each {kind}: {sorted(asked)}')


for test in (test_judge, test_nothing_moves, test_drift, test_changes, test_prompts):
    test()
print(f'{counts[0]} passed, {counts[1]} failed')
sys.exit(1 if counts[1] or not counts[0] else 0)
