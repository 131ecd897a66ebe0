"""One run into every output that needs nothing but this machine: each one's pictures are counted."""
import math
import os
import signal
import subprocess
import sys
import time

from live_harness import (Live, Server, boxes, check, check_numbers, clean_environment, equal, folder,
                          free_port, need_tools, numbers, output, path, run, until)
from harness import LONG, SOURCE, Stalls, each, end, skip

sys.path.insert(0, os.path.join(SOURCE, 'tests/web'))
import sdp  # noqa: E402
from websocket import request  # noqa: E402

FRAMES = 3 * (600 if LONG else 25)  # latent frames
LAST = 4 * (FRAMES - 1)             # number of the last picture
FPS = 48


def has_srt():
    return ' srt\n' in run('ffmpeg', '-v', 'error', '-protocols').stdout


def receive_srt(port):
    """Joins as soon as somebody listens there; what comes late is not left out."""
    url = f'srt://127.0.0.1:{port}?connect_timeout=60000&tlpktdrop=0'
    return subprocess.Popen(['ffmpeg', '-v', 'error', '-i', url, '-c', 'copy', '-f', 'mpegts', '-y',
                             path('srt.ts')], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                            env=clean_environment())


def test_all_outputs():
    server = Server() if Server.is_installed() else None
    args = ['--fps', FPS, '--num-output-frames', FRAMES, '--record', 'a.mp4', '--record', 'b.mp4',
            '--pacing', 'hls=hold', '--hls', 'hls']
    if server:
        server.start()
        args += ['--rtmp', server.url()]
    else:
        print('rtmp is not tested: nginx and libnginx-mod-rtmp are not installed')
    port = free_port()
    if has_srt():
        args += ['--srt', f'srt://:{port}?mode=listener']
    live = Live(*args)
    receiver = receive_srt(port) if has_srt() else None
    equal(live.end(seconds=120 + LAST / FPS), 0, f'exit code ({live.messages()})')
    for name in ('a.mp4', 'b.mp4'):
        check_numbers(numbers(name), name, last=LAST)
        equal(boxes(name)[0], 'ftyp', name)
        check('moof' not in boxes(name), f'{name} is an ordinary MP4: {boxes(name)}')
    check_numbers(numbers('hls/live.m3u8'), 'hls', last=LAST, repeats=True)
    check(open(path('hls/live.m3u8')).read().rstrip().endswith('#EXT-X-ENDLIST'), 'the playlist ends')
    last = live.states()[-1]
    equal(last['phase'], 'ending', 'phase of the last state')
    if server:
        check(until(server.is_left), 'the RTMP server has all')
        server.stop()
        files = server.recorded()
        equal(len(files), 1, 'files of the RTMP server')
        check_numbers(numbers(files[0]), 'rtmp', last=LAST, repeats=True, missing=LAST // 1000)
        equal(output(last, 'rtmp')['dropped'], 0, 'dropped by rtmp')
        check('secret' not in str(last) + str(live.messages()), 'the stream key is nowhere to be seen')
    if receiver:
        check(receiver.wait(60) is not None, 'the receiver ends with the stream')
        check_numbers(numbers('srt.ts'), 'srt', first=None, last=LAST, repeats=True, missing=LAST // 1000)
    equal(last['shown'], LAST + 1, 'pictures shown')
    equal(last['cushion'], 0.3, 'cushion')
    check(any('x264enc' in m or 'openh264enc' in m or 'nvh264enc' in m for m in live.messages()),
          f'a line says which encoder: {live.messages()}')


def test_even_pace():
    """Pictures come in chunks and are shown one by one: held pictures would be repeated."""
    stalls = Stalls(most=2)  # after longer ones the player does not catch up
    live = Live('--fps', 16, '--num-output-frames', 15, '--hls', 'even')
    equal(live.end(), 0, 'exit code')
    stood = math.ceil(16 * stalls.end())  # pictures; a stall is only one late picture
    seen = numbers('even/live.m3u8')
    repeated = sum(a == b for a, b in zip(seen, seen[1:]))
    late = live.states()[-1]['late']  # this machine was too slow for these
    check(repeated <= len(seen) // 5 + 3 * late + stood,
          f'{repeated} of {len(seen)} pictures are repeated ({late} late, {stood} while nothing moved)')


def test_silent_audio():
    live = Live('--fps', FPS, '--num-output-frames', 30, '--hls', 'sound', '--silent-audio', '--hls-segments', 3)
    equal(live.end(), 0, f'exit code ({live.messages()})')
    kinds = run('ffprobe', '-v', 'error', '-show_entries', 'stream=codec_name', '-of', 'csv=p=0',
                path('sound/live.m3u8')).stdout.split()
    equal(sorted(set(kinds)), ['aac', 'h264'], 'streams with --silent-audio')
    check_numbers(numbers('sound/live.m3u8'), 'hls with sound', last=4 * 29, repeats=True, first=None)


def test_viewer_pacing():
    """--pacing counts for the page's viewers too, and the change that a script asks for is reported."""
    port = free_port()
    live = Live('--fps', 16, '--webrtc', port, '--pacing', 'webrtc=hold')
    runs = live.wait_for(lambda s: s['shown'] > 5)
    if any('not in this build' in m for m in live.messages()):
        return
    check(runs, f'it runs: {live.messages()}')
    reply = request(port, 'POST', '/whep', sdp.offer(sdp.video()), Content_Type='application/sdp')
    equal(reply.status, 201, f'answer to an offer ({reply.body})')
    check(live.wait_for(lambda s: [e['pacing'] for e in s['encoders']] == ['hold']),
          f'encoders: {live.states()[-1]["encoders"]}')
    begin = time.monotonic()
    request(port, 'POST', '/api/prompt', '{"prompt": "a hill", "how": "cut"}', Content_Type='application/json')
    check(live.wait_for(lambda s: s['history'][-1]['number'] and 'shown' in s['history'][-1]),
          f'{live.states()[-1]["history"]}')
    longest = time.monotonic() - begin
    state = live.states()[-1]
    first, last = state['history'][0], state['history'][-1]
    equal((first['picture'], last['how']), (0, 'cut'), f'history {state["history"]}')
    check(0 < last['picture'] < state['pictures'] and 0 < last['shown'] <= longest,
          f'history {state["history"]}, {longest:.2f} s')
    check(0 < state['stages']['chunk_first'] <= state['stages']['chunk_p99'], f'stages {state["stages"]}')
    equal(live.end(signal.SIGTERM), 143, 'exit code')


need_tools(skip)
os.makedirs(folder, exist_ok=True)
each(test_all_outputs, test_even_pace, test_silent_audio, test_viewer_pacing)
end()
