"""Servers that never were, ports in use, a full disk: the recording misses nothing."""
import os
import resource
import signal
import socket

from live_harness import Live, check, check_numbers, equal, free_port, need_tools, numbers, path
from harness import each, end, skip

FPS = 24


HOSTS = ('127.0.0.1', 'no.such.host.invalid')


def without_servers(*args):
    return Live('--fps', FPS, '--rtmp', f'rtmp://{HOSTS[0]}:{free_port()}/live/x', '--rtmp',
                f'rtmp://{HOSTS[1]}/live/x', '--srt', f'srt://127.0.0.1:{free_port()}', *args)


def lines_about(live, name):
    return [m for m in live.messages() if name in m and 'trying again' in m and 'rtmp' in m]


def test_no_server():
    live = without_servers('--num-output-frames', 30, '--record', 'alone.mp4')
    equal(live.end(), 0, f'exit code ({live.messages()})')
    check_numbers(numbers('alone.mp4'), 'recording', last=4 * 29)
    for name in HOSTS:
        check(len(lines_about(live, name)) <= 1, f'lines about {name}: {live.messages()}')


def test_lines_about_servers():
    """One about each, however often it is tried. That there is no such name may be known late."""
    live = without_servers('--record', 'lines.mp4')
    check(live.wait_for(lambda s: all(lines_about(live, name) for name in HOSTS), 120), f'{live.messages()}')
    shown = live.states()[-1]['shown']
    check(live.wait_for(lambda s: s['shown'] > shown + 3 * FPS), f'it goes on: {live.messages()}')
    equal(live.end(signal.SIGTERM), 143, f'exit code ({live.messages()})')
    check_numbers(numbers('lines.mp4'), 'recording')
    for name in HOSTS:
        equal(len(lines_about(live, name)), 1, f'lines about {name}: {live.messages()}')


def test_port_in_use():
    """Somebody else listens for SRT callers there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        port = free_port()
        other.bind(('0.0.0.0', port))
        live = Live('--fps', FPS, '--num-output-frames', 15, '--record', 'port.mp4',
                    '--srt', f'srt://:{port}?mode=listener')
        equal(live.end(), 0, f'exit code ({live.messages()})')
    check_numbers(numbers('port.mp4'), 'recording', last=4 * 14)
    check(any(f':{port}' in m and 'trying again' in m for m in live.messages()),
          f'it is named: {live.messages()}')
    check(any(f':{port}' in m and 'never connected' in m for m in live.messages()),
          f'and at the end: {live.messages()}')


def test_full_disk():
    """A recording that cannot go on: said once, playable, exit code 1."""
    live = None
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60000, limit[1]))
    try:
        live = Live('--fps', FPS, '--num-output-frames', 120, '--record', 'full.mp4')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    equal(live.end(), 1, f'exit code ({live.messages()})')
    equal(len([m for m in live.messages() if 'full.mp4' in m]), 1, f'lines: {live.messages()}')
    check(any('no output can go on' in m for m in live.messages()), 'it ends')
    check_numbers(numbers('full.mp4'), 'what there is')


def test_dead_while_loading():
    """All outputs have failed before the model is there: loading waits for a picture that never comes."""
    os.mkfifo(path('picture.png'))
    live = Live('--record', 'x' * 252 + '.mp4', '--image', 'picture.png')
    equal(live.end(), 1, f'exit code ({live.messages()})')
    check(any('no output can go on' in m for m in live.messages()), f'it is said: {live.messages()}')


need_tools(skip)
each(test_no_server, test_lines_about_servers, test_port_in_use, test_full_disk, test_dead_while_loading)

end()
