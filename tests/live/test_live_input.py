"""What `unreel live` is told: options, prompts from stdin, schedules; and what is missing."""
import glob
import os
import re
import signal
import subprocess
import sys
import time

from live_harness import (Live, check, check_numbers, clean_environment, equal, folder, need_tools,
                          numbers, path)
from harness import UNREEL, each, end, errors, run, skip, unreel

PLUGINS = '/usr/lib/x86_64-linux-gnu/gstreamer-1.0'


def live(*args, **more):
    return unreel('live', *args, **more)


def fails(result, code, *words):
    lines = [line for line in errors(result) if not re.search(r'(H.264|VP8) by \w+', line)]
    equal(result.returncode, code, f'exit code of {result.args[1:]} ({result.stderr!r})')
    equal(len(lines), 1, f'lines printed by {result.args[1:]}: {result.stderr!r}')
    for word in words:
        check(word in result.stderr, f'{result.args[1:]}: {word!r} not in {result.stderr!r}')


def write(name, text):
    with open(path(name), 'wb') as file:
        file.write(text if isinstance(text, bytes) else text.encode())
    return name


def test_usage():
    fails(live('--prompt', 'x'), 2, '--preview', '--rtmp', '--srt', '--hls', '--record', '--webrtc', '--v4l2')
    fails(live('--record', 'x.mp4'), 2, '--prompt', '--schedule')
    fails(live('--prompt', 'x', '--record', 'x.avi'), 2, 'x.avi', '.mp4')
    fails(live('--prompt', 'x', '--record', 'nowhere/x.mp4'), 1, 'nowhere')
    fails(live('--prompt', 'x', '--record', '/dev/null.mp4/x.mp4'), 1, '/dev/null.mp4')
    write('there.mp4', 'precious')
    fails(live('--prompt', 'x', '--record', 'there.mp4'), 1, 'there.mp4', '--overwrite')
    equal(open(path('there.mp4')).read(), 'precious', 'the file that was there')
    for url in ('http://a/b/c', 'rtmp://', 'rtmp://host', 'rtmp://host/application', 'live', 'rtmp:///a/b'):
        fails(live('--prompt', 'x', '--rtmp', url), 2, '--rtmp', 'rtmp://HOST')
    for uri in ('srt://host', 'udp://host:1', 'srt://host:99999', 'srt://:1?mode=nothing', 'srt://:7?mode=caller'):
        fails(live('--prompt', 'x', '--srt', uri), 2, '--srt', 'srt://HOST:PORT')
    fails(live('--prompt', 'x', '--v4l2', '/dev/video77'), 1, '/dev/video77', 'v4l2loopback')
    fails(live('--prompt', 'x', '--v4l2', '/etc/passwd'), 1, '/etc/passwd')
    fails(live('--prompt', 'x', '--hls', '/proc/x'), 1, '/proc/x')
    fails(live('--prompt', 'x', '--record', 'x.mp4', '--pacing', 'rtmp=content'), 2, '--pacing')
    fails(live('--prompt', 'x', '--record', 'x.mp4', '--pacing', 'record'), 2, '--pacing')
    fails(live('--prompt', 'x', '--record', 'x.mp4', '--latency', '-1'), 2, 'latency')
    fails(live('--prompt', 'x', '--record', 'x.mp4', '--encoder', 'x265enc'), 2, 'encoder')
    fails(live('--prompt', 'x', '--record', 'x.mp4', '--encoder', 'vp8enc'), 1, 'vp8enc', 'H.264')
    fails(live('--prompt', 'x', '--record', 'x.mp4', '--stamp', '--size', '64x64'), 2, '--stamp')
    fails(live('--prompt', 'x', '--record', 'x.mp4', '--num-output-frames', '4'), 1, '3', '6')
    fails(live('--prompt', 'x', '--record', 'x.mp4', '--model', 'nomodel'), 1, 'nomodel')
    check(not os.path.exists(path('x.mp4')), 'no file is left')


def test_schedule_errors():
    for text, line, word in ((b'', 1, 'no entry'), (b'# nothing\n\n', 1, 'no entry'),
                             (b'0 | cut | a\n\nx | cut | b\n', 3, 'time'), (b'0 | cut\n', 1, 'TIME | HOW'),
                             (b'0 | cut | a\n5 | jump | b\n', 2, 'blend'), (b'5||a\n3||b\n', 2, 'before'),
                             (b'5 | cut |  \n', 1, 'prompt'), (b'1:75 || a\n', 1, 'time'),
                             (b'-1 || a\n', 1, 'time'), (b'0 || caf\xe9\n', 1, 'UTF-8'),
                             (b'0 || a\n1 || ' + b'x' * 20000, 2, 'too long')):
        name = write('bad.txt', text)
        fails(live('--schedule', name, '--record', 'x.mp4'), 1, f'bad.txt:{line}:', word)
    fails(live('--schedule', 'none.txt', '--record', 'x.mp4'), 1, 'none.txt')
    fails(live('--schedule', write('late.txt', '1 || a\n'), '--record', 'x.mp4'), 2, '--prompt')


def test_schedule():
    name = write('good.txt', '\ufeff# time | how | prompt\n0 | | a red fox\n\n1.5 | blend | a blue fox\r\n'
                             '0:02 | cut | a | b\n')
    process = Live('--fps', 32, '--num-output-frames', 30, '--schedule', name, '--hls', 'schedule', '--prompt',
                   'ignored')
    equal(process.end(), 0, f'exit code ({process.messages()})')
    history = process.states()[-1]['history']
    equal([(h['prompt'], h['how'], h['who']) for h in history if h['who'] == 'schedule'][1:],
          [('a blue fox', 'blend', 'schedule'), ('a | b', 'cut', 'schedule')], 'history')
    only = Live('--num-output-frames', 3, '--schedule', name, '--hls', 'first', '--prompt', '')
    equal(only.end(), 0, f'exit code without a prompt ({only.messages()})')
    equal(only.states()[-1]['prompt'], 'a red fox', 'the prompt of time 0')


def test_stdin():
    process = Live('--fps', 32, '--record', 'stdin.mp4', stdin=subprocess.PIPE)
    check(process.wait_for(lambda s: s['shown'] > 4), f'it runs: {process.messages()}')
    process.process.stdin.write('a green fox\n\n  \n' + 'x' * 20000 + '\n' + 'the last \u00e4')
    process.process.stdin.close()
    check(process.wait_for(lambda s: s['prompt'] == 'the last \u00e4'), f'{process.messages()}')
    check(process.wait_for(lambda s: s['scene'] == s['scene_asked'] > 0), 'the change takes effect')
    shown = process.states()[-1]['shown']
    check(process.wait_for(lambda s: s['shown'] > shown + 32), 'it goes on after the end of stdin')
    equal(process.end(signal.SIGTERM), 143, 'exit code')
    texts = [h['prompt'] for h in process.states()[-1]['history']]
    equal(texts, ['a fox', 'a green fox', 'the last \u00e4'], 'history')
    equal(sum('longer than' in m for m in process.messages()), 1, f'{process.messages()}')
    check_numbers(numbers('stdin.mp4'), 'recording')


def plugins(*names):
    """An environment in which GStreamer has only these plugins."""
    place = path('plugins')
    subprocess.run(['rm', '-rf', place])
    os.mkdir(place)
    for name in ('coreelements', 'app', 'videoconvertscale', 'videoconvert', 'isomp4', *names):
        for file in glob.glob(f'{PLUGINS}/libgst{name}.so'):
            os.symlink(file, os.path.join(place, os.path.basename(file)))
    return clean_environment(GST_PLUGIN_SYSTEM_PATH_1_0=place, GST_PLUGIN_PATH='',
                             GST_REGISTRY=path(f'registry{len(names)}'), GST_REGISTRY_FORK='no')


def test_missing_plugins():
    if not os.path.isdir(PLUGINS):
        print('missing plugins are not tested: no', PLUGINS)
        return
    env = plugins()
    fails(live('--prompt', 'x', '--record', 'p.mp4', env=env), 1, 'h264parse', 'gstreamer1.0-plugins-bad')
    fails(live('--prompt', 'x', '--rtmp', 'rtmp://a/b/c', env=plugins('videoparsersbad')), 1, 'flvmux',
          'gstreamer1.0-plugins-good')
    env = plugins('videoparsersbad', 'flv')
    fails(live('--prompt', 'x', '--rtmp', 'rtmp://a/b/c', env=env), 1, 'rtmp2sink',
          'gstreamer1.0-plugins-bad')
    fails(live('--prompt', 'x', '--record', 'p.mp4', env=env), 1, 'H.264', 'gstreamer1.0-plugins-ugly')
    fails(live('--prompt', 'x', '--record', 'p.mp4', '--encoder', 'x264enc', env=env), 1, 'x264enc')
    check(not os.path.exists(path('p.mp4')), 'no file is left')
    if os.path.exists(f'{PLUGINS}/libgstopenh264.so'):
        other = Live('--record', 'o.mp4', '--num-output-frames', 6, '--fps', 32,
                     env=plugins('videoparsersbad', 'openh264', 'flv'))
        equal(other.end(), 0, f'exit code ({other.messages()})')
        check(any('openh264enc' in m for m in other.messages()), f'{other.messages()}')
        check_numbers(numbers('o.mp4'), 'by openh264enc', last=20)


need_tools(skip)
each(test_usage, test_schedule_errors, test_schedule, test_stdin, test_missing_plugins)
end()
