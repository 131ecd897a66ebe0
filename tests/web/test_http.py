"""The page's server: what it answers, what it survives."""
import json
import os
import re
import select
import shutil
import socket
import ssl
import subprocess
import threading
import time

import sdp
from harness import LONG, Stalls, check, equal, path
from served import PORT, PROMPT_MAX, alive, ask, error_of, finish, prompt, server, whep
from standin import PROGRAM, Standin
from websocket import WebSocket


def test_page():
    page = ask('GET', '/')
    equal(page.status, 200, 'page')
    html = page.body.decode()
    links = [link for link in re.findall(r'(?:https?:)?//[\w.]+', re.sub(r'/\*.*?\*/', '', html, flags=re.S))
             if 'www.w3.org' not in link]
    equal(links, [], 'the page names other servers')
    check('src=' not in html and '<link rel="stylesheet"' not in html, 'the page loads more files')
    policy = page.headers.get('content-security-policy', '')
    check("default-src 'none'" in policy and "frame-ancestors 'none'" in policy and 'unsafe' not in policy,
          f'policy: {policy}')
    equal(page.headers.get('x-content-type-options'), 'nosniff', 'nosniff')
    again = ask('GET', '/', If_None_Match=page.headers['etag'])
    equal((again.status, again.body), (304, b''), 'page again')
    head = ask('HEAD', '/')
    equal((head.status, head.body), (200, b''), 'HEAD')
    equal(ask('POST', '/', 'x').status, 405, 'POST of the page')
    equal(ask('POST', '/', 'x').headers.get('allow'), 'GET', 'Allow')
    for where in ('/nothing', '/../etc/passwd', '/%2e%2e/x', '/whepx', '/api', '/api/prompt/', '//'):
        equal(ask('GET', where).status in (400, 404), True, f'GET {where}')


def test_state_and_metrics():
    state = ask('GET', '/api/state')
    equal((state.status, state.headers['content-type']), (200, 'application/json'), 'state')
    check('prompt' in state.json(), 'state has the prompt')
    equal(state.headers.get('cache-control'), 'no-store', 'state is not kept')
    metrics = ask('GET', '/metrics')
    equal(metrics.status, 200, 'metrics')
    names = set()
    for line in metrics.body.decode().splitlines():
        good = re.fullmatch(r'# (HELP|TYPE) unreel_\w+ .+|unreel_\w+(\{\w+="[\w.]+"\})? -?[\d.e+-]+', line)
        check(good, f'metrics line {line!r}')
        names.add(re.split('[ {]', line)[0])
    check({'unreel_pictures_total', 'unreel_viewers', 'unreel_stage_seconds_total',
           'unreel_chunk_seconds'} <= names, f'metrics: {sorted(names)}')
    health = ask('GET', '/healthz', Host='anything.example')
    check(health.status == 200 and health.json()['status'] in ('ok', 'starting'), health.body)


def test_picture():
    replies = []

    def fetch():
        replies.append(ask('GET', '/api/picture'))

    threads = [threading.Thread(target=fetch) for _ in range(6)]
    for each_thread in threads:
        each_thread.start()
    for each_thread in threads:
        each_thread.join()
    good = [r for r in replies if r.status == 200]
    check(good and all(r.body.startswith(b'\x89PNG') for r in good), 'pictures as PNG')
    check(all(r.status in (200, 503) for r in replies), [r.status for r in replies])


def test_prompt():
    reply = prompt({'prompt': 'a red fox', 'how': 'cut'})
    equal(reply.status, 200, 'prompt')
    check(reply.json()['change'] >= 1, reply.body)
    check(server.said('prompt cut: a red fox'), 'the session got it')
    equal(ask('GET', '/api/state').json()['prompt'], 'a red fox', 'state after it')
    equal(prompt({'prompt': 'Füchse im Schnee 🦊\n"zwei"'}).status, 200, 'UTF-8')
    equal(ask('GET', '/api/state').json()['prompt'], 'Füchse im Schnee 🦊\n"zwei"', 'UTF-8 comes back')
    equal(prompt(b'{"prompt": "\\ud83e\\udd8a\\u00fc"}').status, 200, 'escapes')
    equal(ask('GET', '/api/state').json()['prompt'], '🦊ü', 'escapes come back')
    equal(prompt({'prompt': 'x' * PROMPT_MAX}).status, 200, 'the longest prompt')


def test_bad_prompts():
    bad = [b'', b'{', b'[]', b'"x"', b'{"prompt": 1}', b'{"prompt": null}', b'{}', b'{"prompt": ""}',
           b'{"prompt": " \\n\\u00a0"}', b'{"prompt": "x", "how": "fade"}', b'{"prompt": "x", "how": 1}',
           b'{"prompt": "x", "hwo": "cut"}', b'{"prompt": "x",}', b'{"prompt": "x"} x',
           b'{"prompt": "x", "prompt": "y"}', b'{"prompt": "\\ud800"}', b'{"prompt": "\\u0000"}',
           b'{"prompt": "\xff"}', b'{"prompt": "a\nb"}', b'{"prompt": "a\\q"}', b'{prompt: "x"}',
           b'{"prompt": "x", "id": -1}', b'{"prompt": {"a": 1}}', b'{"do": "seed", "seed": 1}',
           b'{"do": "fly"}', b'{"do": 7, "prompt": "x"}', b'{"prompt": "x", "n": 01}',
           b'{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1,"j":1,"k":1,"l":1,"m":1,"n":1,"o":1,'
           b'"p":1,"q":1}', json.dumps({'prompt': 'x' * (PROMPT_MAX + 1)}).encode(),
           b'\0' * 100, b'{"prompt": "x', b'{"prompt":1e999}']
    before = ask('GET', '/api/state').json()['scene']
    for body in bad:
        reply = prompt(body)
        equal((reply.status, bool(error_of(reply))), (400, True), f'{body[:60]!r}')
    equal(prompt({'prompt': 'x'}, Content_Type='text/plain').status, 415, 'type of a prompt')
    equal(ask('POST', '/api/prompt', 'prompt=x', Content_Type='application/x-www-form-urlencoded').status, 415,
          'a form')
    equal(ask('GET', '/api/prompt').status, 405, 'GET of a prompt')
    equal(ask('GET', '/api/state').json()['scene'], before, 'nothing changed')
    alive('bad prompts')


def test_large():
    before = server.memory()
    huge = json.dumps({'prompt': 'x' * (10 << 20)})
    for _ in range(3):
        equal(prompt(huge).status, 413, '10 MB prompt')
        equal(whep(huge).status, 413, '10 MB offer')
    chunk = b'10000\r\n' + b'x' * 0x10000 + b'\r\n'
    reply = ask('POST', '/api/prompt', chunk * 160 + b'0\r\n\r\n', Content_Type='application/json',
                Content_Length=None, Transfer_Encoding='chunked')
    equal(reply.status, 413, '10 MB without a length')
    with socket.create_connection(('127.0.0.1', PORT), 20) as s:
        s.sendall(f'POST /api/prompt HTTP/1.1\r\nHost: 127.0.0.1:{PORT}\r\n'
                  'Transfer-Encoding: chunked\r\n\r\n'.encode())
        cut = False
        try:
            for _ in range(1600):  # 100 MB
                s.sendall(chunk)
        except OSError:
            cut = True
        check(cut, 'who sends without end is cut off')
    with socket.create_connection(('127.0.0.1', PORT), 10) as s:
        try:
            s.sendall(b'GET / HTTP/1.1\r\nHost: localhost\r\nX: ' + b'y' * (5 << 20) + b'\r\n\r\n')
            check(b' 200 ' not in s.recv(1000)[:20], '5 MB of headers')
        except OSError:
            check(True, '')
    grown = server.memory() - before
    check(grown < 30, f'memory has grown by {grown:.0f} MiB')
    alive('large requests')


def test_garbage():
    for raw in (b'\0' * 1000, b'\r\n' * 50, b'GET\r\n\r\n', b'GET / HTTP/9.9\r\n\r\n', os.urandom(4000),
                b'GET / HTTP/1.1\r\n\r\n', b'POST /whep HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n',
                b'GET http://other.example/ HTTP/1.1\r\nHost: other.example\r\n\r\n', b'OPTIONS * HTTP/1.1\r\n\r\n'):
        with socket.create_connection(('127.0.0.1', PORT), 5) as s:
            s.sendall(raw)
            s.shutdown(socket.SHUT_WR)
            try:
                while s.recv(4096):
                    pass
            except OSError:
                pass
    alive('garbage')


def test_connections():
    begin = time.monotonic()
    held = []
    for _ in range(200):
        held.append(socket.create_connection(('127.0.0.1', PORT), 5))
    for s in held[::2]:
        s.sendall(b'GET / HTTP/1.1\r\nHost: loc')  # and never the rest
    equal(ask('GET', '/api/state').status, 200, 'served with 200 connections open')
    equal(select.select(held, [], [], 0)[0], [], 'without waiting for them: none is closed or answered yet')
    for _ in range(100):
        held.append(socket.create_connection(('127.0.0.1', PORT), 5))
    time.sleep(0.3)
    equal(ask('GET', '/').status, 503, 'with 300 connections')
    for s in held:
        s.close()
    # that they are closed is noticed a little later; without that they would be there for 30 s
    while (status := ask('GET', '/').status) == 503 and time.monotonic() - begin < 25:
        time.sleep(0.05)
    equal(status, 200, 'after they are closed')


def test_idle():
    """Takes 30 s."""
    with socket.create_connection(('127.0.0.1', PORT), 60) as s:
        s.sendall(b'GET / HTTP/1.1\r\n')
        begin = time.monotonic()
        try:
            while s.recv(1000):
                pass
        except OSError:
            pass
        check(25 < time.monotonic() - begin < 45, f'closed after {time.monotonic() - begin:.0f} s')



def refused(*options, address='127.0.0.1:0', code=2):
    result = subprocess.run([PROGRAM, '--webrtc', address, *options], stdin=subprocess.DEVNULL, timeout=120,
                            stderr=subprocess.PIPE, text=True, check=False)
    lines = result.stderr.strip().splitlines()
    equal((result.returncode, len(lines)), (code, 1), f'{address} {options}: {lines}')
    return lines[-1] if lines else ''


def test_bad_start():
    check('another program uses it' in refused(address=f'127.0.0.1:{PORT}', code=1), 'port in use')
    for address in ('x', '', ':', '127.0.0.1:', '127.0.0.1:x', '127.0.0.1:65536', '-1', ':80', '::1:80', '[]:80'):
        check('HOST' in refused(address=address) if address else True, f'address {address}')
    check('nowhere.invalid' in refused(address='nowhere.invalid:0', code=1), 'no such host')
    check('192.0.2.1' in refused(address='192.0.2.1:0', code=1), 'an address that is not ours')
    check('belong together' in refused('--tls-cert', 'x.pem'), 'certificate without key')
    check('x.pem' in refused('--tls-cert', 'x.pem', '--tls-key', 'y.pem', code=1), 'no such certificate')
    check('--turn' in refused('--turn', 'turn.example:3478'), 'TURN without user')
    check('--stun' in refused('--stun', '//'), 'STUN without host')


def test_ice_servers():
    other = Standin('--stun', 'stun.example:3478', '--turn', 'turn://me:pa%3Ass@turn.example:5000')
    equal(ask('GET', '/api/ice', port=other.port).json(),
          {'iceServers': [{'urls': 'stun:stun.example:3478'},
                          {'urls': 'turn:turn.example:5000', 'username': 'me', 'credential': 'pa:ss'}]}, 'ICE servers')
    equal(other.stop(), 0, 'exit')
    equal(ask('GET', '/api/ice').json(), {'iceServers': []}, 'no ICE servers')


def test_tls():
    if not shutil.which('openssl'):
        print('TLS is not tested: openssl is not installed')
        return
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj',
                    '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1', '-keyout',
                    path('key.pem'), '-out', path('cert.pem')], check=True, capture_output=True)
    other = Standin('--tls-cert', path('cert.pem'), '--tls-key', path('key.pem'))
    check(other.url.startswith('https://'), other.url)
    tls = ssl.create_default_context(cafile=path('cert.pem'))
    for _ in range(3):
        equal(ask('GET', '/api/state', port=other.port, tls=tls).status, 200, 'by https')
    equal(prompt({'prompt': 'x'}, port=other.port, tls=tls, Origin=f'https://127.0.0.1:{other.port}').status, 200,
          'prompt by https')
    with socket.create_connection(('127.0.0.1', other.port), 60) as s:
        s.sendall(b'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
        try:
            check(b' 200 ' not in s.recv(100), 'no answer in the clear')
        except ConnectionError:
            check(True, '')
    held = [socket.create_connection(('127.0.0.1', other.port), 5) for _ in range(50)]
    equal(ask('GET', '/', port=other.port, tls=tls).status, 200, 'beside handshakes that hang')
    equal(other.stop(), 0, 'exit')
    for s in held:
        s.close()


def test_end():
    other = Standin()
    control = WebSocket(other.port)
    control.until('state')
    whep(sdp.offer(sdp.video()), port=other.port)
    held = [socket.create_connection(('127.0.0.1', other.port), 5) for _ in range(20)]
    stalls, begin = Stalls(), time.monotonic()
    equal(other.stop(), 0, 'exit with everything open')
    took = time.monotonic() - begin
    check(took < 5 + stalls.end(), f'it took {took:.1f} s')
    try:
        while control.message():
            pass
    except OSError:
        pass
    equal(control.close_code, 1001, 'controls are told')
    for s in held:
        s.close()


finish(test_page, test_state_and_metrics, test_picture, test_prompt, test_bad_prompts, test_large, test_garbage, test_connections, test_bad_start, test_ice_servers, test_tls, test_end, *([test_idle] if LONG else []))
