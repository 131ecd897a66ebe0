"""How long after a prompt was sent to the page's server Chromium shows it, with the bundled model (a part
of tools/test.sh --long). The goal: two chunks' computing time, the cushion and half a second.
What follows the test's name are further options of `unreel live`."""
import http.client
import json
import os
import random
import signal
import statistics
import sys
import time

from live_harness import Live, check, equal, free_port, need_tools
from harness import SOURCE, each, end, skip

sys.path.insert(0, os.path.join(SOURCE, 'tests/web'))
import browser  # noqa: E402

MODEL = os.path.join(SOURCE, 'models/postcard')
PROMPTS = ('a red balloon rises over green hills', 'a blue train at night', 'a yellow balloon over snow',
           'a white sailboat on the sea at dusk')
COUNT = int(os.environ.get('UNREEL_CHANGES', '10'))


class Steered:
    """A run with one viewer, who notes when which picture was shown."""

    def __init__(self, chromium, *options):
        self.port = free_port()
        self.live = Live('--model', MODEL, '--threads', 1, '--webrtc', self.port, *options, *sys.argv[1:])
        check(self.live.wait_for(lambda s: s['shown'] > 20), f'it runs: {self.live.messages()}')
        self.page = chromium.page(f'http://127.0.0.1:{self.port}')
        check(self.page.wait('typeof player !== "undefined" && player.playing', 30), 'the page plays')
        with open(os.path.join(SOURCE, 'tests/web/watch.js'), encoding='utf-8') as file:
            self.page.run(file.read())
        time.sleep(2)

    def ask(self, method, where, body=None):
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=10)
        connection.request(method, where, json.dumps(body) if body else None,
                           {'Content-Type': 'application/json'} if body else {})
        answer = json.loads(connection.getresponse().read())
        connection.close()
        return answer

    def change(self, prompt, how):
        """Seconds until its first picture was due, and until it was seen; the state then."""
        begin = time.monotonic()
        number = self.ask('POST', '/api/prompt', {'prompt': prompt, 'how': how})['change']
        sending = time.monotonic() - begin
        while time.monotonic() < begin + 20:
            time.sleep(0.3)
            state = self.ask('GET', '/api/state')
            entry = next(e for e in state['history'] if e['number'] == number)
            if 'shown' not in entry:
                continue
            seen = self.page.run(f'(watched.shown.find(s => s.number >= {entry["picture"]}) || {{}}).running')
            if seen:
                return sending + entry['shown'], sending + seen - entry['seconds'], state
        return None

    def stop(self):
        self.page.close()
        equal(self.live.end(signal.SIGTERM), 143, 'exit code')


def measure(chromium, *options):
    run = Steered(chromium, *options)
    for how in ('cut', 'recache'):
        times = []
        for i in range(COUNT):
            time.sleep(1.5 + random.random())
            run.page.run('watched.shown.length = 0')
            got = run.change(PROMPTS[i % len(PROMPTS)], how)
            if check(got, f'{how} is seen'):
                times.append(got)
        state = times[-1][2]
        stages = state['stages']
        goal = 2 * stages['chunk_p50'] + state['cushion'] + 0.5
        seen = [t[1] for t in times]
        print(f'{" ".join(options)} {how}: due after {statistics.mean(t[0] for t in times):.2f} s '
              f'(at most {max(t[0] for t in times):.2f}), seen after {statistics.mean(seen):.2f} '
              f'({max(seen):.2f}); goal {goal:.2f}; chunk {stages["chunk_p50"]:.3f} s, first picture '
              f'{stages.get("chunk_first", 0):.3f}; late {state["late"]} of {state["shown"]}', flush=True)
        check(max(seen) < goal, f'{how}: seen after {max(seen):.2f} s, goal {goal:.2f}')
    run.stop()


def test_change():
    chromium = browser.Browser()
    try:
        measure(chromium)
        measure(chromium, '--eager')
    finally:
        chromium.close()


need_tools(skip)
if not browser.find():
    skip('chromium is not installed')
each(test_change)
end()
