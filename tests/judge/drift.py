#!/usr/bin/env python3
"""Statistics of a long video while it comes: does it keep its contrast, sharpness and colours, does it
flicker at chunk borders, does anything still move?

    unreel generate ... --output - | drift.py [--svg PLOT.svg] [--json] [--first 9] [--chunk 12]
                                              [--minute SECONDS] [FILE.y4m]

Every minute is compared with the first one. Exit code 1 if contrast, sharpness, brightness or a
colour's mean differs by more than 5 % (of the first minute's; for colours of white), if pictures across
chunk borders differ more than 10 % more than neighbours within chunks, or if nothing moves."""
import argparse
import json
import sys

import numpy as np

import y4m

LIMIT, BORDER_LIMIT = 0.05, 0.10
STILL = 0.10  # share of the first minute's movement below which nothing moves any more


def picture_statistics(y, u, v, full):
    """contrast, sharpness, brightness, red, green, blue, colourfulness: all 0 to 1."""
    grey = y.astype(np.float32) / 255
    k = 2 if u.shape != y.shape else 1
    rgb = y4m.colours(y4m.box(y, k)[:u.shape[0], :u.shape[1]],
                      *(p[:y.shape[0] // k, :y.shape[1] // k].astype(np.float32) for p in (u, v)), full)
    across, down = np.abs(np.diff(grey, axis=1)).mean(), np.abs(np.diff(grey, axis=0)).mean()
    return (grey.std(), across + down, grey.mean(), *rgb.mean((0, 1)), (rgb.max(-1) - rgb.min(-1)).mean())


NAMES = ('contrast', 'sharpness', 'brightness', 'red', 'green', 'blue', 'colourfulness')


class Minute:
    """Sums over some time; memory does not grow."""

    def __init__(self):
        self.pictures = 0
        self.sum = np.zeros(len(NAMES))
        self.within, self.across = [0.0, 0], [0.0, 0]

    def add(self, values, difference, border):
        self.pictures += 1
        self.sum += values
        if difference is not None:
            to = self.across if border else self.within
            to[0] += difference
            to[1] += 1

    def result(self):
        result = dict(zip(NAMES, (self.sum / self.pictures).round(5).tolist()), pictures=self.pictures)
        result['within'] = self.within[0] / max(self.within[1], 1)
        result['across'] = self.across[0] / max(self.across[1], 1)
        return result


def border(index, first, chunk):
    """Whether picture `index` begins a chunk."""
    return index == first or index > first and (index - first) % chunk == 0


def measure(stream, seconds=60.0, first=9, chunk=12):
    """[Minute.result()] of a video; a rest shorter than half a minute counts to the one before."""
    reader = y4m.Reader(stream)
    length = max(1, round(seconds * reader.fps))
    minutes, before = [Minute()], None
    for index, (y, u, v) in enumerate(reader):
        if minutes[-1].pictures == length:
            minutes.append(Minute())
        grey = y.astype(np.float32)
        difference = None if before is None else float(np.abs(grey - before).mean()) / 255
        minutes[-1].add(picture_statistics(y, u, v, reader.full), difference, border(index, first, chunk))
        before = grey
    if not minutes[0].pictures:
        raise ValueError('the video has no picture')
    if len(minutes) > 1 and minutes[-1].pictures < length / 2:
        rest = minutes.pop()
        last = minutes[-1]
        last.pictures += rest.pictures
        last.sum += rest.sum
        for mine, its in ((last.within, rest.within), (last.across, rest.across)):
            mine[0] += its[0]
            mine[1] += its[1]
    return [m.result() for m in minutes]


def flags(minutes):
    """What is wrong, one line each."""
    first, found = minutes[0], []
    for number, minute in enumerate(minutes, 1):
        for name in NAMES if number > 1 else ():
            scale = 1.0 if name in ('red', 'green', 'blue') else max(first[name], 1e-6)
            change = (minute[name] - first[name]) / scale
            if abs(change) > LIMIT:
                found.append(f'minute {number}: {name} {100 * change:+.1f} %')
        if minute['across'] > (1 + BORDER_LIMIT) * minute['within'] + 1e-5:
            found.append(f'minute {number}: pictures across chunk borders differ '
                         f'{100 * (minute["across"] / max(minute["within"], 1e-9) - 1):+.1f} % more')
        if minute['within'] < max(STILL * first['within'], 1e-5):
            found.append(f'minute {number}: nothing moves')
    return found


def plot(minutes, name):
    """A line for each figure, relative to the first minute, as SVG."""
    colours = ('#222222', '#8a4fbf', '#c9a000', '#d62728', '#2ca02c', '#1f77b4', '#ff7f0e')
    wide, high, left, top = 640, 300, 60, 20
    right = wide - 150
    values = {n: [m[n] / max(minutes[0][n], 1e-6) - 1 for m in minutes] for n in NAMES}
    reach = max(0.10, *(abs(x) for line in values.values() for x in line)) * 1.1
    px = lambda i: left + (right - left) * (i / max(len(minutes) - 1, 1))
    py = lambda x: top + (high - 2 * top) * (0.5 - x / reach / 2)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" font-family="sans-serif" '
             f'font-size="12"><rect width="{wide}" height="{high}" fill="white"/>']
    for x in (-LIMIT, 0, LIMIT):
        dash = '' if x == 0 else ' stroke-dasharray="4 3"'
        parts.append(f'<path d="M{left} {py(x):.1f}H{right}" stroke="#999"{dash}/>'
                     f'<text x="{left - 6}" y="{py(x) + 4:.1f}" text-anchor="end">{100 * x:+.0f} %</text>')
    for i in range(len(minutes)):
        parts.append(f'<text x="{px(i):.1f}" y="{high - 4}" text-anchor="middle">{i + 1}</text>')
    for k, (label, line) in enumerate(values.items()):
        points = ' '.join(f'{px(i):.1f},{py(x):.1f}' for i, x in enumerate(line))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colours[k]}" stroke-width="2"/>'
                     f'<text x="{right + 14}" y="{top + 14 + 18 * k}" fill="{colours[k]}">{label}</text>')
    with open(name, 'w', encoding='utf-8') as out:
        out.write('\n'.join(parts) + '\n</svg>\n')


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('file', nargs='?', default='-')
    parser.add_argument('--svg', metavar='FILE')
    parser.add_argument('--json', action='store_true')
    parser.add_argument('--first', type=int, default=9, help='pictures of the first chunk')
    parser.add_argument('--chunk', type=int, default=12, help='pictures of the others')
    parser.add_argument('--minute', type=float, default=60, help='seconds that are taken together')
    options = parser.parse_args()
    try:
        with sys.stdin.buffer if options.file == '-' else open(options.file, 'rb') as stream:
            minutes = measure(stream, options.minute, options.first, options.chunk)
    except (OSError, ValueError) as error:
        print(f'drift.py: {options.file}: {error}', file=sys.stderr)
        return 2
    found = flags(minutes)
    if options.svg:
        plot(minutes, options.svg)
    if options.json:
        print(json.dumps({'minutes': minutes, 'flags': found}))
    else:
        columns = NAMES + ('within', 'across')
        print('minute  ' + ' '.join(f'{c:>13}' for c in columns))
        for number, minute in enumerate(minutes, 1):
            print(f'{number:6}  ' + ' '.join(f'{minute[c]:13.5f}' for c in columns))
        for line in found:
            print(f'WRONG: {line}')
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())
