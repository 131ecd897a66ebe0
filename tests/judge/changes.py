#!/usr/bin/env python3
"""After a prompt change: is what was asked to be seen in time, and does the rest stay?

    changes.py FILE.y4m --at PICTURE --expect KIND=NAME,... [--within 2] [--json]

The picture is the first one of the new prompt's chunk. What is judged before it and not expected to
change must be judged the same afterwards (kinds that the judge was not sure of before are left out).
Exit code 1 if the change is late or missing, or something else changed."""
import argparse
import json
import sys

import judge
import y4m

WINDOW = 2.0  # seconds that are looked at from the moment at which the change must be there
SURE = 0.2    # confidence below which a kind is not compared


def compare(clip, at, expected, within=2.0):
    """{'late': [kinds not seen in time], 'other': [kinds that changed unasked], ...}"""
    begin = at + round(within * clip.fps)
    rest = len(clip.rgb) - begin
    if at < clip.fps:
        raise ValueError('there is less than a second before the change')
    if rest < clip.fps:
        raise ValueError(f'there is less than a second from {within:g} s after the change on')
    # what takes a path to be seen needs longer than the colour of the sky
    before = judge.report(clip.part(0, at))
    soon = judge.report(clip.part(begin, min(rest, round(WINDOW * clip.fps))))
    after = judge.report(clip.part(begin, rest))
    late = [k for k, name in expected.items() if soon[k]['is'] != name and
            (k not in ('motion', 'speed') or after[k]['is'] != name)]
    other = [k for k in judge.KINDS if k not in expected and before[k]['confidence'] >= SURE and
             after[k]['is'] != before[k]['is'] and after[k]['confidence'] >= SURE]
    brief = lambda r: {k: r[k]['is'] for k in judge.KINDS}
    return {'late': late, 'other': other, 'before': brief(before), 'soon': brief(soon), 'after': brief(after)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('file')
    parser.add_argument('--at', type=int, required=True, metavar='PICTURE')
    parser.add_argument('--expect', required=True, metavar='KIND=NAME,...')
    parser.add_argument('--within', type=float, default=2.0, metavar='SECONDS')
    parser.add_argument('--json', action='store_true')
    options = parser.parse_args()
    try:
        expected = judge.expectation(options.expect)
        result = compare(y4m.read(options.file), options.at, expected, options.within)
    except (OSError, ValueError) as error:
        print(f'changes.py: {options.file}: {error}', file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(result))
    else:
        print(f"before {result['before']}\nafter  {result['after']}")
        for kind in result['late']:
            print(f"WRONG: {kind}: {result['soon'][kind]} {options.within:g} s after the change, "
                  f'expected {expected[kind]}')
        for kind in result['other']:
            print(f"WRONG: {kind} changed unasked: {result['before'][kind]} to {result['after'][kind]}")
    return 1 if result['late'] or result['other'] else 0


if __name__ == '__main__':
    sys.exit(main())
