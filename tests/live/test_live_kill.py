"""kill -9 at any moment: the recording plays and misses little."""
import random
import signal
import time

from live_harness import Live, boxes, check, check_numbers, need_tools, numbers
from harness import LONG, each, end, skip

KILLS = 20 if LONG else 3


def test_kill():
    """Killed after 2 s of video at least: the file plays and misses at most 1 s of what was made."""
    for i in range(KILLS):
        fps = random.randrange(16, 40)
        live = Live('--fps', fps, '--record', f'kill{i}.mp4')
        check(live.wait_for(lambda s: s['shown'] > 2 * fps), f'it runs: {live.messages()}')
        time.sleep(random.random())
        made = live.states()[-1]['pictures']
        live.end(signal.SIGKILL)
        seen = numbers(f'kill{i}.mp4')
        check_numbers(seen, f'killed at {fps} pictures/s')
        check(len(seen) >= made - fps, f'{len(seen)} pictures recorded of {made} at {fps}/s')
        check('moof' in boxes(f'kill{i}.mp4'), 'fragments')


need_tools(skip)
each(test_kill)
end()
