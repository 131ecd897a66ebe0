"""Every output at once for ten minutes, with the bundled model (a part of tools/test.sh --long):
recording, HLS, RTMP into nginx-rtmp, SRT, a window under Xvfb and the page in Chromium. Each one's
pictures are counted by the number stamped into them, and memory must stay flat. UNREEL_SOAK_SECONDS
(default 600) shortens it."""
import os
import re
import statistics
import subprocess
import sys
import time

from live_harness import (Live, Screen, Server, check, check_numbers, clean_environment, equal,
                          free_port, need_tools, numbers, output, path)
from harness import SOURCE, each, end, skip

sys.path.insert(0, os.path.join(SOURCE, 'tests/web'))
import browser  # noqa: E402

MODEL = os.path.join(SOURCE, 'models/postcard')
FPS = 16
SECONDS = int(os.environ.get('UNREEL_SOAK_SECONDS', '600'))
FRAMES = SECONDS * FPS // 4 // 3 * 3
LAST = 4 * (FRAMES - 1)
GROWTH_MAX = 4 << 20  # bytes, after the first fifth
SKIPPED_MAX = max(1, LAST // 1000)


def anonymous_bytes(pid):
    with open(f'/proc/{pid}/status', encoding='ascii') as file:
        return next((int(line.split()[1]) << 10 for line in file if line.startswith('RssAnon:')), 0)


def receive_srt(port):
    for _ in range(40):
        receiver = subprocess.Popen(
            ['gst-launch-1.0', '-q', 'srtsrc', f'uri=srt://127.0.0.1:{port}', '!', 'filesink',
             f'location={path("srt.ts")}', 'buffer-mode=unbuffered'], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=clean_environment())
        time.sleep(0.5)
        if receiver.poll() is None:
            return receiver
    return None


class Viewer:
    """The page in Chromium; the numbers of the pictures that it shows."""

    def __init__(self, url):
        self.chromium = browser.Browser()
        self.page = self.chromium.page()
        begin = time.monotonic()
        self.page.open(url)
        check(self.page.wait('typeof player !== "undefined" && player.playing', 30), 'the page plays')
        self.first = time.monotonic() - begin
        with open(os.path.join(SOURCE, 'tests/web/watch.js'), encoding='utf-8') as file:
            self.page.run(file.read())
        self.shown, self.latencies = [], []

    def collect(self):
        shown = self.page.run('watched.shown.splice(0)')
        self.shown += [s['number'] for s in shown]
        latency = self.page.run('player.latency')
        if isinstance(latency, (int, float)):
            self.latencies.append(latency)

    def inbound(self):
        """What the decoder counted: received, decoded, dropped."""
        return self.page.run('''player.pc.getStats().then(all => { for (const s of all.values())
            if (s.type === "inbound-rtp" && s.kind === "video") return [s.framesReceived, s.framesDecoded,
            s.framesDropped, s.packetsLost]; })''')


def test_soak():
    server, screen = Server(), Screen()
    server.start()
    srt_port, port = free_port(), free_port()
    live = Live('--fps', FPS, '--num-output-frames', FRAMES, '--model', MODEL, '--threads', 1, '--record',
                'soak.mp4', '--hls', 'hls', '--hls-segments', 0, '--rtmp', server.url(), '--srt',
                f'srt://:{srt_port}?mode=listener', '--webrtc', port, '--preview', env=screen.environment)
    receiver = receive_srt(srt_port)
    until = time.monotonic() + 30
    while not any('webrtc: http' in m for m in live.messages()) and time.monotonic() < until:
        time.sleep(0.1)
    viewer = Viewer(next(re.search(r'http\S+', m)[0] for m in live.messages() if 'webrtc: http' in m))
    memory, inbound = [], None
    while live.process.poll() is None:
        states = live.states()
        done = states[-1]['shown'] / LAST if states else 0
        memory.append((done, anonymous_bytes(live.process.pid)))
        if done < 0.995:
            viewer.collect()
            inbound = viewer.inbound()
        time.sleep(2)
    equal(live.end(), 0, f'exit code ({live.messages()})')
    viewer.chromium.close()
    screen.close()
    time.sleep(1)
    server.stop()
    receiver.kill()  # would wait for the sender's return
    receiver.wait()
    last = live.states()[-1]
    print(f'{LAST + 1} pictures in {SECONDS} s; outputs:')
    for o in last['outputs']:
        print('  ', {k: v for k, v in o.items() if k in ('name', 'pictures', 'dropped', 'late', 'reconnects')})
    check_numbers(numbers('soak.mp4'), 'recording', last=LAST)
    check_numbers(numbers('hls/live.m3u8'), 'hls', last=LAST, repeats=True)
    recorded = server.recorded()
    equal(len(recorded), 1, 'files of the RTMP server')
    check_numbers(numbers(recorded[0]), 'rtmp', last=LAST, repeats=True, missing=SKIPPED_MAX)
    srt = numbers('srt.ts')
    check_numbers(srt, 'srt', first=None, last=LAST, repeats=True, missing=SKIPPED_MAX)
    for what, seen in (('rtmp', numbers(recorded[0])), ('srt', srt), ('browser', viewer.shown)):
        seen = [n for n in seen if n is not None and n >= 0]
        print(f'{what}: {len(set(seen))} different pictures of {max(seen) - min(seen) + 1}, from {min(seen)}')
    check(viewer.shown.count(-1) <= SKIPPED_MAX, f'{viewer.shown.count(-1)} unreadable pictures in the browser')
    check_numbers([n for n in viewer.shown if n >= 0], 'browser', first=None, repeats=True, missing=SKIPPED_MAX)
    print(f'browser: first picture {viewer.first:.2f} s, latency median '
          f'{1000 * statistics.median(viewer.latencies):.0f} ms, inbound (received, decoded, dropped, lost) {inbound}')
    equal(output(last, 'rtmp')['dropped'], 0, 'dropped by rtmp')
    early = [m for done, m in memory if 0.2 <= done < 0.4]
    late = [m for done, m in memory if 0.8 <= done < 0.99]
    print(f'memory: {statistics.median(early) / 2**20:.1f} MiB, at the end {statistics.median(late) / 2**20:.1f} MiB')
    check(statistics.median(late) - statistics.median(early) < GROWTH_MAX, 'memory stays flat')


need_tools(skip)
if not Server.is_installed() or not browser.find():
    skip('nginx-rtmp or chromium is not installed')
each(test_soak)
end()
