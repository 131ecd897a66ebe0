"""A streaming server that stops and comes back, or hangs: the recording misses nothing."""
import signal
import time

from live_harness import Live, Server, check, check_numbers, equal, need_tools, numbers, output, run, until
from harness import LONG, each, end, skip

FPS = 24


def connected(state):
    return output(state, 'rtmp')['status'] == 'connected'


def send(live, server, files):
    """A second of video more, which the server records into its newest file of so many."""
    pictures = output(live.states()[-1], 'rtmp')['pictures']
    check(live.wait_for(lambda s: output(s, 'rtmp')['pictures'] >= pictures + FPS), 'it sends')
    check(until(lambda: len(server.recorded()) >= files), 'the server records')


def restart(server, seconds, name):
    server.start()
    live = Live('--fps', FPS, '--record', name, '--rtmp', server.url())
    check(live.wait_for(connected), f'connected: {live.messages()}')
    send(live, server, 1)
    server.stop()
    check(live.wait_for(lambda s: not connected(s)), 'it notices')
    time.sleep(seconds)
    server.start()
    check(live.wait_for(connected), f'it comes back: {live.messages()}')
    send(live, server, 2)
    equal(live.end(signal.SIGTERM), 143, 'exit code')
    check(until(server.is_left), 'the server has all')
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
    for i, seconds in enumerate((5, 60) if LONG else (1,)):
        restart(Server(), seconds, f'restart{i}.mp4')


def test_rtmp_server_hangs():
    """It accepts and reads nothing: dropped up to a key picture, never waited for."""
    server = Server()
    server.start()
    live = Live('--fps', FPS, '--record', 'hangs.mp4', '--rtmp', server.url(), '--bitrate', 20000)
    check(live.wait_for(connected), f'connected: {live.messages()}')
    server.process.send_signal(signal.SIGSTOP)
    before = live.states()[-1]['shown']
    time.sleep(3)
    check(live.wait_for(lambda s: s['shown'] > before + FPS), 'the video goes on')
    equal(live.end(signal.SIGTERM, 60), 143, 'exit code')
    server.stop()
    check_numbers(numbers('hangs.mp4'), 'recording')


need_tools(skip)
if not Server.is_installed():
    skip('nginx and libnginx-mod-rtmp are not installed')
each(test_rtmp_server_restarts, test_rtmp_server_hangs)
end()
