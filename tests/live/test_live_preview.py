"""The window, under Xvfb: it shows the pictures in their shape, and keys reach the session."""
import glob
import os
import re
import shutil
import signal
import sys
import time

from live_harness import Live, Screen, check, clean_environment, equal, folder, free_port, path, until
from harness import SOURCE, each, end, errors, run, skip, unreel

sys.path.insert(0, os.path.join(SOURCE, 'tests/web'))
from websocket import WebSocket  # noqa: E402

TOOLS = ('Xvfb', 'xdotool', 'import', 'convert')


def wait_for(live, pattern):
    """Until a message matches; whether one does."""
    return until(lambda: any(re.search(pattern, line) for line in live.messages()))


def look(screen, name, good):
    """The screen as soon as it is as it should be; the last look at it."""
    seen = []
    until(lambda: seen.append(screen.shot(name)) or good(seen[-1]), 30)
    return seen[-1]


def look_still(screen, name):
    """The screen when nothing on it moves any more."""
    seen = [None]
    return look(screen, name, lambda new: seen.append(new) or time.sleep(0.3) or new == seen[-2])


def shows_picture(seen):
    return max(seen[5], seen[6], seen[9], seen[10]) > 20


def reaches_sides(seen):
    return seen[4] > 5 and seen[7] > 5


def type_while_busy(screen, live):
    """All that is typed while the window does nothing is there when it goes on."""
    live.process.send_signal(signal.SIGSTOP)
    screen.key('Return')
    screen.type('given up')
    screen.key('Escape', 'Return')
    screen.type('kept')
    screen.key('Return')
    screen.type('i')  # a command again: the overlay
    live.process.send_signal(signal.SIGCONT)
    check(wait_for(live, 'window: prompt 2: kept$'), f'typed while it was busy: {live.messages()}')


def test_keys():
    screen = Screen()
    live = Live('--preview', env=screen.environment, stamp=False)
    try:
        check(live.wait_for(lambda s: any(o['name'] == 'preview' and o['pictures'] > 5
                                          for o in s['outputs'])),
              f'pictures in the window: {live.messages()}')
        seen = look(screen, 'plain.png', shows_picture)
        check(shows_picture(seen), f'the middle shows a picture: {seen}')
        screen.key('space')
        check(wait_for(live, 'window: pause'), 'pause')
        top = look_still(screen, 'plain.png')[:4]
        screen.key('Tab')
        overlay = look(screen, 'overlay.png', lambda seen: seen[:4] != top)
        check(overlay[:4] != top, f'the overlay shows: {overlay}')
        screen.key('space')
        check(wait_for(live, 'window: goes on'), 'goes on')
        screen.key('Return')
        screen.type('two words')
        screen.key('BackSpace', 'Tab', 'Return')
        check(wait_for(live, r'window: prompt 1: two word$'), f'typed prompt: {live.messages()}')
        type_while_busy(screen, live)
        screen.key('r')
        check(wait_for(live, 'window: reset 3'), 'reset')
        screen.key('s')
        check(wait_for(live, r'\.png: saved'), 'saved')
        equal(len(glob.glob(os.path.join(folder, 'unreel-*.png'))), 1, 'saved pictures')
        screen.key('f')
        full = look(screen, 'full.png', reaches_sides)
        check(reaches_sides(full), f'full screen reaches the sides: {full}')
        screen.key('q')
        equal(live.end(), 0, 'exit code after Q')
    finally:
        live.end(15) if live.process.poll() is None else None
        screen.close()


def test_pause_elsewhere():
    """Space lets go on what the page has paused."""
    screen, port = Screen(), free_port()
    live = Live('--preview', '--webrtc', port, '--prompt-switch', 'cut', env=screen.environment, stamp=False)
    try:
        runs = live.wait_for(lambda s: s['shown'] > 5)
        if any('not in this build' in m for m in live.messages()):
            return
        check(runs, f'pictures: {live.messages()}')
        control = WebSocket(port)
        equal(control.ask('pause', on=True)['type'], 'done', 'paused from the page')
        screen.key('space')
        check(wait_for(live, 'window: goes on'), f'Space lets it go on: {live.messages()}')
        check(live.wait_for(lambda s: not s['paused']), 'it goes on')
        screen.key('Return')
        screen.type('words')
        screen.key('Return')
        check(live.wait_for(lambda s: s['how'] == 'cut' and s['prompt'] == 'words'),
              f'switched as --prompt-switch says: {live.states()[-1]["history"]}')
        control.close()
        screen.key('q')
        equal(live.end(), 0, 'exit code after Q')
    finally:
        live.end(15) if live.process.poll() is None else None
        screen.close()


def test_close_by_signal():
    screen = Screen()
    live = Live('--preview', '--record', 'window.mp4', env=screen.environment)
    try:
        check(live.wait_for(lambda s: any(o['pictures'] > 5 for o in s['outputs'])),
              f'pictures: {live.messages()}')
        equal(live.end(15), 143, 'exit code after SIGTERM')
        check(os.path.getsize(path('window.mp4')) > 1000, 'the recording is there')
    finally:
        screen.close()


def test_no_display():
    environment = clean_environment()
    environment.pop('DISPLAY', None)
    environment.pop('WAYLAND_DISPLAY', None)
    environment.pop('SDL_VIDEODRIVER', None)
    # without a driver's name SDL finds one that shows nothing
    for more in ({'SDL_VIDEODRIVER': 'x11'}, {}, {'DISPLAY': ':77'}):
        result = unreel('live', '--prompt', 'x', '--num-output-frames', '3', '--preview', env={**environment, **more})
        equal(result.returncode, 1, f'exit code without a display, {more}')
        check('no display' in result.stderr, result.stderr)


if not all(shutil.which(tool) for tool in TOOLS):
    skip('needs xvfb xdotool imagemagick')
each(test_keys, test_pause_elsewhere, test_close_by_signal, test_no_display)
end()
