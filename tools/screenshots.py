#!/usr/bin/env python3
"""Draws the documentation's pictures of window and page anew: window.webp and page.webp in docs/pictures.

    tools/screenshots.py [ARGUMENTS OF unreel live]

One run of `unreel live` with both, under Xvfb and in headless Chromium; a second prompt is typed into the
window. Needs what `tools/setup.sh test` installs."""
import os
import subprocess
import sys
import tempfile
import time

SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
os.environ['STANDIN'] = os.path.join(SOURCE, 'build/tools/unreel')
sys.path.insert(0, os.path.join(SOURCE, 'tests/web'))
import browser  # noqa: E402
from standin import PROGRAM, Standin  # noqa: E402

PICTURES = os.path.join(SOURCE, 'docs/pictures')
FIRST = 'a red hot-air balloon over green hills at sunset'
THEN = 'a red hot-air balloon over green hills at night'


def window_of(environment):
    """The window's position and size, as import -crop has it."""
    names = subprocess.run(['xdotool', 'search', '--onlyvisible', '--name', '.'], env=environment, text=True,
                           capture_output=True, check=True).stdout.split()
    shape = subprocess.run(['xdotool', 'getwindowgeometry', '--shell', names[-1]], env=environment, text=True,
                           capture_output=True, check=True).stdout
    at = dict(line.split('=') for line in shape.split())
    return f"{at['WIDTH']}x{at['HEIGHT']}+{at['X']}+{at['Y']}"


def to_webp(png, name):
    os.makedirs(PICTURES, exist_ok=True)
    subprocess.run(['convert', png, '-quality', '85', os.path.join(PICTURES, name)], check=True)
    print(os.path.join(PICTURES, name))


def draw(environment, arguments, scratch):
    live = Standin('--prompt', FIRST, '--preview', *arguments, program=(PROGRAM, 'live'), **environment)
    if not live.url:
        raise RuntimeError('\n'.join(['unreel live does not start:', *live.lines]))
    chrome = browser.Browser()
    try:
        page = chrome.page(live.url, width=1280, height=860)
        if not page.wait('typeof player !== "undefined" && player.playing', 30):
            raise RuntimeError('the page does not play')
        time.sleep(8)
        for keys in (('key', 'Return'), ('type', '--delay', '40', THEN), ('key', 'Return'), ('key', 'Tab')):
            subprocess.run(['xdotool', *keys], env=environment, check=True)
            time.sleep(0.3)
        time.sleep(10)
        shot = os.path.join(scratch, 'window.png')
        subprocess.run(['import', '-window', 'root', '-crop', window_of(environment), shot], env=environment,
                       check=True)
        to_webp(shot, 'window.webp')
        shot = os.path.join(scratch, 'page.png')
        page.screenshot(shot)
        to_webp(shot, 'page.webp')
    finally:
        chrome.close()
        live.stop()


def main():
    read, write = os.pipe()
    screen = subprocess.Popen(['Xvfb', '-displayfd', str(write), '-screen', '0', '1280x800x24'],
                              pass_fds=[write], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(write)
    with os.fdopen(read) as pipe:
        environment = {**os.environ, 'DISPLAY': ':' + pipe.readline().strip(), 'SDL_VIDEODRIVER': 'x11'}
    try:
        with tempfile.TemporaryDirectory() as scratch:
            draw(environment, sys.argv[1:], scratch)
    finally:
        screen.terminate()
        screen.wait()


if __name__ == '__main__':
    try:
        main()
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
        sys.exit(f'screenshots.py: {error}')
