#!/usr/bin/env python3
"""Says what is to be seen in a video of the bundled model's world, by its pictures alone.

    judge.py [--json] [--expect KIND=NAME,...] [FILE.y4m]     (stdin if no file is named)

KIND: time weather ground color motion speed. Exit code 1 if something expected is not seen."""
import argparse
import json
import sys

import scenery
import subject
import y4m

KINDS = {
    'time': ('dawn', 'noon', 'sunset', 'night'),
    'weather': ('clear', 'clouds', 'rain', 'snow'),
    'ground': ('sea', 'hills', 'desert', 'city'),
    'color': tuple(subject.COLOURS),
    'motion': ('left', 'right', 'rising', 'sinking', 'bouncing', 'circling'),
    'speed': ('slow', 'fast'),
}


def report(clip):
    """{kind: {'is': name, 'confidence': 0 to 1}} of a y4m.Clip, and the 'path' of the thing."""
    time = scenery.time_of_day(clip)
    ground = scenery.ground(clip, time[0])
    color, evidence = subject.choose(clip, time[0])
    path = subject.Path(evidence, clip.fps)
    motion, speed = subject.motion(path)
    weather = scenery.weather(clip, subject.widened(evidence.mask))
    seen = {'time': time, 'weather': weather, 'ground': ground, 'color': color, 'motion': motion,
            'speed': speed}
    result = {kind: {'is': name, 'confidence': round(c, 3)} for kind, (name, c) in seen.items()}
    result['path'] = [None if x != x else [round(float(x), 3), round(float(y), 3)]
                      for x, y in zip(path.x, path.y)]
    return result


def wrong(result, expected):
    """Those kinds of {kind: name} that are not what is seen."""
    return [kind for kind, name in expected.items() if result[kind]['is'] != name]


def expectation(text):
    """{kind: name} of "color=red,motion=left"."""
    expected = {}
    for part in filter(None, text.split(',')):
        kind, _, name = part.partition('=')
        if name not in KINDS.get(kind, ()):
            raise ValueError(f"there is no '{part}'; {kind} may be: {' '.join(KINDS.get(kind, KINDS))}")
        expected[kind] = name
    return expected


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('file', nargs='?', default='-')
    parser.add_argument('--expect', default='', metavar='KIND=NAME,...')
    parser.add_argument('--json', action='store_true')
    options = parser.parse_args()
    try:
        expected = expectation(options.expect)
        clip = y4m.Clip(sys.stdin.buffer) if options.file == '-' else y4m.read(options.file)
    except (OSError, ValueError) as error:
        print(f'judge.py: {options.file}: {error}', file=sys.stderr)
        return 2
    result = report(clip)
    bad = wrong(result, expected)
    if options.json:
        print(json.dumps(result))
    else:
        print(' '.join(f"{kind}={result[kind]['is']}({result[kind]['confidence']:.2f})" for kind in KINDS),
              *(f'WRONG: {kind}, expected {expected[kind]}' for kind in bad))
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
