"""Servers that stop, hang or never were, ports in use, a full disk: the recording misses nothing."""
import signal
import time

from live_harness import (Live, Server, check, check_numbers, equal, free_port, need_tools, numbers,
                          output, path, run)
from harness import LONG, each, end, skip

FPS = 24


def connected(state):
    return output(state, 'rtmp')['status'] == 'connected'


def restart(server, seconds, name):
    server.start()
    live = Live('--fps', FPS, '--record', name, '--rtmp', server.url())
    check(live.wait_for(connected), f'connected: {live.messages()}')
    time.sleep(1.5)
    server.stop()
    check(live.wait_for(lambda s: not connected(s)), 'it notices')
    time.sleep(seconds)
    server.start()
    check(live.wait_for(connected, 20), f'it comes back: {live.messages()}')
    time.sleep(1.5)
    equal(live.end(signal.SIGTERM), 143, 'exit code')
    time.sleep(0.3)
    server.stop()
    check_numbers(numbers(name), f'recording while the server was away for {seconds} s')
    check(any('connected again' in m for m in live.messages()), f'it says so: {live.messages()}')
    files = server.recorded()
    if check(len(files) >= 2, f'{files} of the server'):
        key = run('ffprobe', '-v', 'error', '-select_streams', 'v', '-show_entries', 'packet=flags', '-of',
                  'csv=p=0', files[-1]).stdout.split()
        check(key and key[0].startswith('K'), f'it goes on with a key picture: {key[:3]}')
        check_numbers(numbers(files[-1]), 'after the break', first=None, repeats=True)


def test_rtmp_server_restarts():
    if not Server.is_installed():
        print('not tested: nginx and libnginx-mod-rtmp are not installed')
        return
    for i, seconds in enumerate((5, 60) if LONG else (1,)):
        restart(Server(), seconds, f'restart{i}.mp4')


def test_rtmp_server_hangs():
    """It accepts and reads nothing: dropped up to a key picture, never waited for."""
    if not Server.is_installed():
        return
    server = Server()
    server.start()
    live = Live('--fps', FPS, '--record', 'hangs.mp4', '--rtmp', server.url(), '--bitrate', 20000)
    check(live.wait_for(connected), f'connected: {live.messages()}')
    server.process.send_signal(signal.SIGSTOP)
    before = live.states()[-1]['shown']
    time.sleep(3)
    check(live.states()[-1]['shown'] > before + FPS, 'the video goes on')
    equal(live.end(signal.SIGTERM, 15), 143, 'exit code')
    server.stop()
    check_numbers(numbers('hangs.mp4'), 'recording')


def test_no_server():
    urls = [f'rtmp://127.0.0.1:{free_port()}/live/x', 'rtmp://no.such.host.invalid/live/x']
    live = Live('--fps', FPS, '--num-output-frames', 30, '--record', 'alone.mp4',
                '--rtmp', urls[0], '--rtmp', urls[1], '--srt', f'srt://127.0.0.1:{free_port()}')
    equal(live.end(), 0, f'exit code ({live.messages()})')
    check_numbers(numbers('alone.mp4'), 'recording', last=4 * 29)
    for name in ('127.0.0.1', 'no.such.host.invalid'):
        lines = [m for m in live.messages() if name in m and 'trying again' in m and 'rtmp' in m]
        equal(len(lines), 1, f'lines about {name}: {live.messages()}')


def test_port_in_use():
    """Somebody else listens for SRT callers there."""
    import socket
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        port = free_port()
        other.bind(('0.0.0.0', port))
        live = Live('--fps', FPS, '--num-output-frames', 15, '--record', 'port.mp4',
                    '--srt', f'srt://:{port}?mode=listener')
        equal(live.end(), 0, f'exit code ({live.messages()})')
    check_numbers(numbers('port.mp4'), 'recording', last=4 * 14)
    check(any(f':{port}' in m and 'trying again' in m for m in live.messages()),
          f'it is named: {live.messages()}')


def test_full_disk():
    """A recording that cannot go on: said once, playable, exit code 1."""
    import resource
    live = None
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60000, limit[1]))
    try:
        live = Live('--fps', FPS, '--num-output-frames', 120, '--record', 'full.mp4')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    equal(live.end(), 1, f'exit code ({live.messages()})')
    equal(len([m for m in live.messages() if 'full.mp4' in m]), 1, f'lines: {live.messages()}')
    check(any('no output is left' in m for m in live.messages()), 'it ends')
    check_numbers(numbers('full.mp4'), 'what there is')


need_tools(skip)
each(test_rtmp_server_restarts, test_rtmp_server_hangs, test_no_server, test_port_in_use,
     test_full_disk)

end()
