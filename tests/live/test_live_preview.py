"""The window, under Xvfb: it shows the pictures in their shape, and keys reach the session."""
import glob
import os
import re
import shutil
import subprocess
import sys
import time

from live_harness import Live, Screen, check, clean_environment, equal, folder, free_port, path
from harness import SOURCE, each, end, errors, run, skip, unreel

sys.path.insert(0, os.path.join(SOURCE, 'tests/web'))
from websocket import WebSocket  # noqa: E402

TOOLS = ('Xvfb', 'xdotool', 'import', 'convert')


def wait_for(live, pattern, seconds=20):
    """Until a message matches; whether one does."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if any(re.search(pattern, line) for line in live.messages()):
            return True
        time.sleep(0.1)
    return False


def test_keys():
    screen = Screen()
    live = Live('--preview', env=screen.environment, stamp=False)
    try:
        check(live.wait_for(lambda s: any(o['name'] == 'preview' and o['pictures'] > 5
                                          for o in s['outputs']), 30),
              f'pictures in the window: {live.messages()}')
        plain = screen.shot('plain.png')
        check(max(plain[5], plain[6], plain[9], plain[10]) > 20, f'the middle shows a picture: {plain}')
        screen.key('Tab')
        time.sleep(0.5)
        overlay = screen.shot('overlay.png')
        check(plain != overlay, 'the overlay shows')
        screen.key('Return')
        screen.type('two words')
        screen.key('BackSpace', 'Tab', 'Return')
        check(wait_for(live, r'window: prompt 1: two word$'), f'typed prompt: {live.messages()}')
        screen.key('space')
        check(wait_for(live, 'window: pause'), 'pause')
        screen.key('space')
        check(wait_for(live, 'window: goes on'), 'goes on')
        screen.key('r')
        check(wait_for(live, 'window: reset 2'), 'reset')
        screen.key('s')
        check(wait_for(live, r'\.png: saved'), 'saved')
        equal(len(glob.glob(os.path.join(folder, 'unreel-*.png'))), 1, 'saved pictures')
        screen.key('f')
        full = screen.shot('full.png')
        check(full[4] > 5 and full[7] > 5, f'full screen reaches the sides: {full}')
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
        if any('not in this build' in m for m in live.messages()):
            return
        check(live.wait_for(lambda s: s['shown'] > 5, 30), f'pictures: {live.messages()}')
        control = WebSocket(port)
        equal(control.ask('pause', on=True)['type'], 'done', 'paused from the page')
        screen.key('space')
        check(wait_for(live, 'window: goes on'), f'Space lets it go on: {live.messages()}')
        check(live.wait_for(lambda s: not s['paused'], 5), 'it goes on')
        screen.key('Return')
        screen.type('words')
        screen.key('Return')
        check(live.wait_for(lambda s: s['how'] == 'cut' and s['prompt'] == 'words', 5),
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
        check(live.wait_for(lambda s: any(o['pictures'] > 5 for o in s['outputs']), 30),
              f'pictures: {live.messages()}')
        equal(live.end(15), 143, 'exit code after SIGTERM')
        check(os.path.getsize(path('window.mp4')) > 1000, 'the recording is there')
    finally:
        screen.close()


def test_no_display():
    environment = clean_environment()
    environment.pop('DISPLAY', None)
    environment.pop('WAYLAND_DISPLAY', None)
    environment['SDL_VIDEODRIVER'] = 'x11'
    result = unreel('live', '--prompt', 'x', '--preview', env=environment)
    equal(result.returncode, 1, 'exit code without a display')
    check('no display' in result.stderr, result.stderr)


if not all(shutil.which(tool) for tool in TOOLS):
    skip('needs xvfb xdotool imagemagick')
each(test_keys, test_pause_elsewhere, test_close_by_signal, test_no_display)
end()
