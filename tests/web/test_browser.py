"""The page in a real browser: it plays what was sent, steers, and says what is wrong. Times are printed;
the limits that are checked are those for a machine with nothing else to do in long tests, else wide.

With --live over `unreel live` and the small test model, otherwise over a made-up session."""
import os
import signal
import socket
import statistics
import subprocess
import sys
import time

import browser
from harness import LONG, SOURCE, UNREEL, check, each, end, equal, folder, skip
from standin import PROGRAM, Standin
from websocket import request

LIVE = '--live' in sys.argv
SCREENSHOTS = os.environ.get('SCREENSHOTS')  # a folder: what the page looks like is put there
RATE = 16
FIRST_MAX, LATENCY_MAX, RATE_MIN = (2, 0.2, 15.5) if LONG else (30, 3, 1 if LIVE else 4)  # s, s past the cushion
NANO = os.path.join(SOURCE, 'tests/golden/nano')
WATCH = open(os.path.join(os.path.dirname(__file__), 'watch.js'), encoding='utf-8').read()

if not browser.find():
    skip('chromium is not installed: tools/setup.sh test')
if LIVE and not os.path.isdir(NANO):
    skip('tests/golden/nano is not there')

live_command = [UNREEL, 'live', '--stamp', '--config-path', os.path.join(SOURCE, 'tests/golden/nano.yaml'),
                '--model', os.path.join(NANO, 'wan_models/Wan2.1-T2V-nano'), '--checkpoint-path',
                os.path.join(NANO, 'checkpoints/self_forcing_mini.pt'), '--prompt', 'a red sailboat',
                '--size', '128x80', '--threads', '1']


def serve(*options, **more):
    return Standin(*options, program=live_command if LIVE else (PROGRAM,), cwd=folder, **more)


def play(page, seconds=60):
    """Whether it plays; from then on what is shown is read."""
    good = page.wait('typeof player !== "undefined" && player.playing', seconds)
    page.run(WATCH)
    return good


def text(page, name):
    return page.run(f'document.getElementById("{name}").textContent')


def says(page, words, seconds=30):
    """Whether the text over the video comes to have these words."""
    return page.wait(f'!$("notice").hidden && $("notice").innerText.includes({words!r})', seconds)


def begun(server, seconds=120):
    """Whether it makes pictures: who asks long before that is refused, which the page logs as an error."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if request(server.port, 'GET', '/healthz').json()['status'] == 'ok':
            return True
        time.sleep(0.1)
    return False


def nobody_steers(page):
    """Whether that comes to be so: a page that was just closed steers until the server has noticed."""
    return page.wait('page.maySteer && page.steering === "nobody"', 60)


def goes_on(page):
    """Whether more pictures come."""
    page.run('watched.shown.length = 0')
    return page.wait('new Set(watched.shown.map(s => s.number).filter(n => n >= 0)).size > 3', 60)


def check_pictures(shown, latency, cushion):
    """The rate is the median over pictures half of all apart: a machine that stalls moves few of them."""
    numbers, half = [s['number'] for s in shown], len(shown) // 2
    rate = statistics.median((b['number'] - a['number']) * 1000 / (b['at'] - a['at'])
                             for a, b in zip(shown, shown[half:]))
    print(f'{len(shown)} pictures read back, numbers {numbers[0]} to {numbers[-1]}, {rate:.2f}/s, '
          f'{len(shown) - len(set(numbers))} of them again')
    check(all(a <= b for a, b in zip(numbers, numbers[1:])), f'numbers only grow: {numbers}')
    check(all(a['rtp'] < b['rtp'] for a, b in zip(shown, shown[1:])), f'RTP times grow: {shown}')
    # a callback that comes late finds the next picture on the screen, and then it again
    again = sum(a['number'] == b['number'] and a['read'] < b['presented'] for a, b in zip(shown, shown[1:]))
    check(again <= len(shown) / 20, f'few are shown twice: {numbers}')
    check(RATE_MIN < rate < 2 * RATE, f'numbers advance at {rate:.1f}/s')
    print(f'latency by RTP time: {latency * 1000:.0f} ms, of it cushion {cushion * 1000:.0f} ms')
    unsure = max(s['rtt'] for s in shown) / 2  # of the page's clock
    check(cushion - unsure < latency < cushion + LATENCY_MAX + unsure,
          f'latency {latency} +- {unsure}, cushion {cushion}')
    if not LIVE:  # picture n is due at n / RATE
        check(all(s['number'] >= round((s['rtp'] / 90000 - cushion) * RATE) for s in shown),
              f'each is the one of its time, or a later one: {shown}')
        ages = [s['running'] - s['number'] / RATE for s in shown]
        median = statistics.median(ages[-32:])  # the page's latency is that of as many
        print(f'latency by picture number: median {median * 1000:.0f} ms, worst {max(ages) * 1000:.0f} ms')
        check(abs(median - latency) < 0.3, f'{median} by number, {latency} by RTP time')


def test_plays(chrome, server):
    page = chrome.page()
    begin = time.monotonic()
    page.open(server.url)
    check(play(page), 'plays')
    first = time.monotonic() - begin
    print(f'first picture {first:.2f} s after opening the page')
    check(first < FIRST_MAX, f'first picture after {first:.1f} s')
    check(page.wait('Number.isFinite(player.latency)'), 'latency is known')
    page.run('watched.shown.length = 0')
    page.wait(f'watched.shown.length >= {6 * RATE}', 60)
    seen = page.run('({shown: watched.shown, latency: player.latency, cushion: player.cushion})')
    shown = [s for s in seen['shown'] if s['number'] >= 0]
    if check(len(shown) > 10, f'{len(shown)} pictures were read'):
        check_pictures(shown, seen['latency'], seen['cushion'])
    check(page.wait('$("status-text").textContent === "Live"'), 'status')
    equal(page.problems(), [], 'errors in the page')
    page.close()


def test_steers(chrome, server):
    page = chrome.page(server.url)
    check(play(page), 'plays')
    check(nobody_steers(page), 'nobody steers')
    for number, words in enumerate(('a lighthouse in a storm', 'Füchse im "Schnee" 🦊')):
        before = page.run('watched.colour()')
        scene = page.run('page.state.scene')
        page.key('/')
        equal(page.run('document.activeElement.id'), 'prompt', '/ goes to the prompt')
        page.type(words)
        begin = time.monotonic()
        page.enter()
        check(page.wait(f'$("now").textContent === {words!r}'), 'the prompt is shown')
        check(page.wait(f'page.state.scene > {scene}'), 'the change is in effect')
        if not LIVE:
            change = 'watched.colour().some((c, i) => Math.abs(c - %s[i]) > 12)' % before
            check(page.wait(change), 'the picture shows it')
            print(f'prompt seen after {time.monotonic() - begin:.2f} s')
        equal(page.run('$("prompt").value'), '', 'the box is empty again')
        check(page.wait(f'[...document.querySelectorAll("#history .prompt-text")].some(e => e.textContent === {words!r})'),
              'it is in the history')
    page.run('document.activeElement.blur()')
    page.key('3')
    equal(page.run('chosenHow()'), 'cut', '3 chooses cut')
    page.run('document.querySelector("#history .entry").click()')
    equal(page.run('$("prompt").value'), words, 'an entry can be written on')
    page.enter()
    check(page.wait('page.state.history.at(-1).how === "cut"'), 'cut')
    page.run('document.activeElement.blur()')
    page.run('$("seed").value = "9007199254740993"; $("seed-form").requestSubmit()')
    check(page.wait('page.state.history.at(-1).what === "seed"'), 'seed')
    check(page.wait('page.state.seed === "9007199254740993" && page.state.history.at(-1).seed === page.state.seed'),
          'exactly this seed')
    equal(page.problems(), [], 'errors in the page')
    page.close()


def test_usual_switch(chrome):
    """How a prompt takes over is chosen as the server does it by itself, until a person chooses."""
    server = serve('--prompt-switch', 'cut')
    page = chrome.page(server.url)
    check(page.wait('chosenHow() === "cut"'), 'as the server says')
    check(page.wait('!document.querySelector("input[name=how]").disabled'), 'it steers')
    page.run('document.querySelector("input[name=how][value=recache]").click()')
    page.run('window.before = true')
    page.open(server.url)
    check(page.wait('!window.before && typeof page !== "undefined" && page.state.prompt_switch === "cut"'),
          'opened again')
    equal(page.run('chosenHow()'), 'recache', 'as a person chose before')
    page.close()
    server.stop()


def test_pause(chrome, server):
    page = chrome.page(server.url)
    check(play(page), 'plays')
    check(nobody_steers(page), 'nobody steers')
    page.key(' ', 'Space', ' ')
    check(page.wait('$("status-text").textContent === "Paused"'), 'Space pauses')
    newest = page.run('page.state.shown') - 1  # still on its way, perhaps
    time.sleep(2.5)
    numbers = page.run('watched.shown.map(s => s.number)')
    check(max(numbers, default=0) <= newest, f'nothing new while paused: newest {newest}, shown {numbers}')
    other = chrome.page(server.url)
    check(other.wait('typeof page !== "undefined" && page.state.paused && $("notice").hidden && '
                     '(page.poster || player.playing)'), 'a second viewer sees the picture meanwhile')
    page.key(' ', 'Space', ' ')
    check(page.wait('$("status-text").textContent === "Live"'), 'Space goes on')
    check(goes_on(page), 'it goes on')
    check(play(other), 'the second viewer plays then')
    other.close()
    page.close()


def test_viewers(chrome, server):
    pages = [chrome.page(server.url) for _ in range(3)]
    for page in pages:
        check(play(page), 'each plays')
    for page in pages:
        page.call('Page.bringToFront')
        check(goes_on(page), 'each goes on')
    # viewers of the tests before that vanished without a word are noticed within a minute
    check(pages[0].wait('$("facts").textContent.includes("3 watching")', 90), text(pages[0], 'facts'))
    pages[1].close()
    check(pages[0].wait('$("facts").textContent.includes("2 watching")', 90), 'who closes the page is gone')
    check(nobody_steers(pages[0]), 'nobody steers')
    pages[0].run('ask("reset")')
    check(pages[2].wait('page.steering === "other" && !$("wheel").hidden'), 'the others see who steers')
    pages[2].run('$("wheel-button").click()')
    check(pages[2].wait('page.steering === "you" && $("wheel").hidden'), 'and can take over')
    for page in (pages[0], pages[2]):
        equal(page.problems(), [], 'errors in the page')
        page.close()


def test_server_gone(chrome):
    server = serve()
    page = chrome.page(server.url)
    check(play(page), 'plays')
    server.process.kill()
    server.process.wait()
    check(says(page, 'The server is gone'), 'a killed server')
    server = serve(address=f'127.0.0.1:{server.port}')
    check(page.wait('!page.serverGone && player.playing && performance.now() - player.lastFrame < 500', 90), 'plays again when it is back')
    check(goes_on(page), 'and goes on')
    page.close()
    server.stop()


def test_messages(chrome):
    server = serve()
    page = chrome.page()
    page.call('Page.addScriptToEvaluateOnNewDocument', source='delete window.RTCPeerConnection')
    page.open(server.url)
    check(says(page, 'cannot play'), 'no WebRTC')
    page.close()
    page = chrome.page()
    page.call('Page.addScriptToEvaluateOnNewDocument', source="""
        const post = window.fetch;
        window.fetch = (where, more) => post(where, more && more.body && more.body.startsWith('v=') ?
          { ...more, body: more.body.replace(/H264|VP8/g, 'AV9') } : more);""")
    page.open(server.url)
    check(says(page, 'neither H.264 nor VP8'), 'no codec')
    page.close()
    server.stop()
    if LIVE:
        return
    server = serve(STANDIN_SILENT='1')
    page = chrome.page(server.url)
    check(says(page, 'No picture yet'), 'no picture')
    page.close()
    server.stop()
    server = serve(STANDIN_NO_H264='1')
    page = chrome.page(server.url)
    check(play(page), 'VP8 plays')
    check(goes_on(page), 'and goes on')
    page.close()
    server.stop()


def own_address():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(('192.0.2.1', 9))
            return s.getsockname()[0]
        except OSError:
            return '127.0.0.1'


def test_token(chrome):
    if own_address().startswith('127.'):
        print('viewing from elsewhere is not tested: this machine has no network')
        return
    server = serve('--viewers-open', address='0.0.0.0:0')
    page = chrome.page(server.url)
    check(play(page), 'plays without token')
    check(page.wait('!$("wheel").hidden && $("wheel-text").textContent.includes("watching")'), 'watching only')
    equal(page.run('$("send").disabled && $("prompt").disabled && $("pause").disabled'), True, 'nothing to press')
    page.run('$("wheel-button").click()')
    check(says(page, 'needs the token'), 'asks for the token')
    page.run('''window.said = "";  // such messages go away after 5 s
        new MutationObserver(() => { said += $("toasts").textContent; }).observe($("toasts"), {childList: true})''')
    page.run('$("token").value = "wrong"; $("token-form").requestSubmit()')
    check(page.wait('said.includes("not the token") && control.connected'), 'a wrong one')
    page.run('$("wheel-button").click()')
    check(says(page, 'needs the token'), 'asks again')
    page.run(f'$("token").value = "{server.token}"; $("token-form").requestSubmit()')
    check(page.wait('page.maySteer && !$("send").disabled'), 'then it steers')
    page.close()
    server.stop()
    server = serve(address='0.0.0.0:0')
    page = chrome.page(server.url)
    check(says(page, 'needs the token'), 'nothing to see without token')
    page.close()
    page = chrome.page(f'{server.url}#token={server.token}')
    check(play(page), 'plays with the printed address')
    equal(page.run('page.maySteer'), True, 'and steers')
    equal(page.run('location.hash'), '', 'the token does not stay in the address')
    page.close()
    server.stop()


def test_layout(chrome, server):
    page = chrome.page(server.url)
    check(play(page), 'plays')
    check(nobody_steers(page), 'nobody steers')
    page.run('ask("prompt", {prompt: "a very long word: ' + 'w' * 300 + ' and an end", how: "cut"})')
    for words in ('dusk over the lake, one star', 'the fox trots towards a frozen lake, low sun, long shadows'):
        page.run(f'ask("prompt", {{prompt: {words!r}, how: "blend"}})')
    time.sleep(1)
    for width, height in ((320, 640), (390, 844), (768, 1024), (1024, 600), (1024, 700), (1366, 657), (1440, 900),
                          (1920, 1080)):
        mobile = width < 700
        page.resize(width, height, mobile)
        time.sleep(0.2)
        wide = page.run('document.documentElement.scrollWidth')
        check(wide <= width, f'{wide} px wide on a screen of {width}')
        hidden = page.run('''[...document.querySelectorAll('button, input, textarea')].filter(e => e.checkVisibility() &&
            e.type !== 'radio' && !e.closest('dialog, .quick, #token-form')).filter(e => {
              const r = e.getBoundingClientRect(); return r.left < -0.5 || r.right > innerWidth + 0.5; }).map(e => e.id)''')
        equal(hidden, [], f'controls outside of {width} px')
        over = page.run('''(() => { const parts = [...document.querySelectorAll('#stage, .transport, .now, .desk, ' +
              '.history, .gauges')].map(e => [e.className, e.getBoundingClientRect()]).filter(p => p[1].height);
            return parts.flatMap(([a, r], i) => parts.slice(i + 1).filter(([b, q]) => r.left < q.right - 1 &&
              q.left < r.right - 1 && r.top < q.bottom - 1 && q.top < r.bottom - 1).map(([b]) => a + ' over ' + b));
            })()''')
        equal(over, [], f'parts over one another at {width}x{height}')
        if mobile:
            small = page.run('''[...document.querySelectorAll('button')].filter(e => e.checkVisibility())
                .filter(e => e.getBoundingClientRect().height < 38).map(e => e.id || e.textContent)''')
            equal(small, [], f'buttons too small to touch at {width} px')
        if SCREENSHOTS:
            for dark in (True, False):
                page.scheme(dark)
                time.sleep(0.3)
                page.screenshot(os.path.join(SCREENSHOTS, f'{width}-{"dark" if dark else "light"}.png'))
    page.call('Accessibility.enable')
    nodes = page.call('Accessibility.getFullAXTree')['nodes']
    roles = ('button', 'textbox', 'radio', 'Video', 'image', 'region', 'list')
    for node in nodes:
        role = node.get('role', {}).get('value')
        if role in roles[:4] and not node.get('ignored'):
            check(node.get('name', {}).get('value'), f'a {role} without a name: {node.get("properties")}')
    check(sum(n.get('role', {}).get('value') == 'button' for n in nodes) > 8, 'buttons are seen')
    page.close()


def test_reaped(chrome, server):
    """Takes a minute: a browser that is killed says nothing."""
    other = browser.Browser()
    page = other.page(server.url)
    check(play(page), 'plays')
    other.kill()
    check(server.said('is gone', 90), 'a killed browser is noticed')


main_server = serve()
chromium = browser.Browser()
try:
    check(begun(main_server), 'pictures come')
    tests = [test_plays, test_steers, test_pause, test_viewers, test_layout, *([test_reaped] if LONG else [])]
    own = [test_usual_switch, test_server_gone, test_messages, test_token]
    for test in tests:
        each(lambda test=test: test(chromium, main_server))
    for test in own:
        each(lambda test=test: test(chromium))
finally:
    chromium.close()
    equal(main_server.stop() in (0, 143), True, 'exit')
    for line in main_server.lines:
        check('CRITICAL' not in line and 'WARNING **' not in line and 'Sanitizer' not in line, line)
end()
