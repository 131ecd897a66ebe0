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


def test_memory():
    """The same after 200 pictures and at the end."""
    live = Live('--fps', 100, '--record', 'm.mp4', '--hls', 'memory', '--hls-segments', 3)
    held = []
    end_at = time.monotonic() + (100 if LONG else 8)
    while time.monotonic() < end_at and live.process.poll() is None:
        for line in open(f'/proc/{live.process.pid}/status'):
            if line.startswith('RssAnon:'):
                held.append(int(line.split()[1]) / 1024)
        time.sleep(0.2)
    equal(live.end(signal.SIGTERM), 143, 'exit code')
    middle = max(held[len(held) // 3:2 * len(held) // 3])
    late = max(held[2 * len(held) // 3:])
    print(f'{middle:.1f} MiB in the middle, {late:.1f} MiB late')
    check(late - middle < 4, f'memory grows: {middle:.1f} MiB, then {late:.1f} MiB')


need_tools(skip)
each(test_signals, test_memory)
end()
