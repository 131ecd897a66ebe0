"""A video without end: how it is ended, and that it needs no more memory with time."""
import signal
import time

from live_harness import Live, boxes, check, check_numbers, equal, need_tools, numbers
from harness import LONG, each, end, skip


def test_signals():
    """A video without end is ended, files are completed."""
    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        live = Live('--record', f'{number}.mp4', '--hls', f'hls{number}')
        check(live.wait_for(lambda s: s['shown'] > 8), f'it runs: {live.messages()}')
        equal(live.end(number), code, f'exit code after signal {number}')
        check('moof' not in boxes(f'{number}.mp4'), 'an ordinary MP4')
        made = live.states()[-1]['pictures']
        seen = numbers(f'{number}.mp4')
        check_numbers(seen, f'recording ended by signal {number}')
        check(len(seen) >= made, f'{len(seen)} pictures recorded of {made}')
        check_numbers(numbers(f'hls{number}/live.m3u8'), 'hls', repeats=True)


def peak(live, shown):
    """MiB that it needs at most until so many pictures have been shown."""
    held, end_at = 0, time.monotonic() + (300 if LONG else 60)
    reached = False
    while not reached and time.monotonic() < end_at and live.process.poll() is None:
        for line in open(f'/proc/{live.process.pid}/status'):
            if line.startswith('RssAnon:'):
                held = max(held, int(line.split()[1]) / 1024)
        reached = live.wait_for(lambda s: s['shown'] >= shown, 0.2)
    check(reached, f'{shown} pictures are shown: {live.messages()}')
    return held


def test_memory():
    """The same after 200 pictures and at the end."""
    third = 3000 if LONG else 200  # of the pictures
    live = Live('--fps', 100, '--record', 'm.mp4', '--hls', 'memory', '--hls-segments', 3)
    _, middle, late = [peak(live, shown) for shown in (third, 2 * third, 3 * third)]
    equal(live.end(signal.SIGTERM), 143, 'exit code')
    print(f'{middle:.1f} MiB in the middle, {late:.1f} MiB late')
    check(late - middle < 4, f'memory grows: {middle:.1f} MiB, then {late:.1f} MiB')


need_tools(skip)
each(test_signals, test_memory)
end()
