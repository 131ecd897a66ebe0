"""Who may view and steer: origins, host names, tokens."""
import re
import socket
import time

import sdp
from harness import check, equal
from served import EVIL, PORT, ask, finish, prompt, server, whep
from standin import Standin
from websocket import Refused, WebSocket


def test_origin():
    text = {'prompt': 'from elsewhere'}
    for origin in ('http://evil.example', 'null', f'http://127.0.0.1:{PORT + 1}', f'http://localhost:{PORT}',
                   'file://', f'http://127.0.0.1:{PORT}.evil.example'):
        equal(prompt(text, Origin=origin).status, 403, f'prompt from {origin}')
        equal(whep(sdp.offer(sdp.video()), Origin=origin).status, 403, f'offer from {origin}')
        equal(ask('GET', '/api/state', Origin=origin).status, 403, f'state for {origin}')
        try:
            WebSocket(PORT, Origin=origin)
            check(False, f'control from {origin}')
        except Refused as refused:
            equal(refused.status, 403, f'control from {origin}')
    equal(prompt(text, Origin=f'http://127.0.0.1:{PORT}').status, 200, 'prompt from the own page')
    reply = whep('', method='OPTIONS', **EVIL)
    equal(reply.status, 204, 'preflight of WHEP')
    check('access-control-allow-origin' not in prompt(text, **EVIL).headers, 'no CORS for control')


def test_embedding():
    """Pictures and scripts of other sites' pages come without an Origin, but browsers say from where."""
    for site in ('cross-site', 'same-site'):
        for where in ('/api/picture', '/api/state', '/metrics'):
            equal(ask('GET', where, Sec_Fetch_Site=site).status, 403, f'{where} embedded, {site}')
        equal(prompt({'prompt': 'x'}, Sec_Fetch_Site=site).status, 403, f'prompt, {site}')
        equal(ask('GET', '/', Sec_Fetch_Site=site).status, 200, f'a link to the page, {site}')
    for site in ('same-origin', 'none'):
        equal(ask('GET', '/api/picture', Sec_Fetch_Site=site).status, 200, f'picture, {site}')
    for where in ('/', '/api/picture', '/api/state'):
        equal(ask('GET', where).headers.get('cross-origin-resource-policy'), 'same-origin', f'policy of {where}')


def test_bad_token():
    """What browsers could not send is refused at the start."""
    for token in ('se same', 'a,b', 'a/b', 'caf\u00e9', 'a"b', 'a%20b', 'a=b', 'a+b'):
        other = Standin('--web-token', token)
        equal(other.process.wait(10), 2, f'exit code with the token {token!r}')
        check(any('--web-token' in line for line in other.lines), f'{token!r}: {other.lines}')
        check(not any(token in line for line in other.lines), f'{token!r} is not printed: {other.lines}')


def test_quiet():
    """A token that was made up is printed nevertheless."""
    other = Standin('--quiet', address='0.0.0.0:0')
    check(other.token and re.fullmatch('[0-9a-f]{32}', other.token), f'token {other.token}: {other.lines}')
    until = time.monotonic() + 10
    while len(other.lines) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    equal(len(other.lines), 2, f'lines: {other.lines}')  # and a warning about TLS
    equal(other.stop(), 0, 'exit')


def test_host():
    for host in ('evil.example', f'evil.example:{PORT}', '127.0.0.1.evil.example', 'localhost.evil.example'):
        equal(ask('GET', '/', host=host).status, 421, f'page as {host}')
        equal(prompt({'prompt': 'rebound'}, host=host, Origin=f'http://{host}').status, 421, f'prompt as {host}')
        try:
            WebSocket(PORT, host=host, Origin=f'http://{host}')
            check(False, f'control as {host}')
        except Refused as refused:
            equal(refused.status, 421, f'control as {host}')
    for host in ('localhost', f'localhost:{PORT}', f'LocalHost:{PORT}', '127.0.0.1', '[::1]:80', 'localhost.',
                 'a.localhost'):
        equal(ask('GET', '/', host=host).status, 200, f'page as {host}')
    for host in ('', '[::1', '[', ':80'):
        equal(ask('GET', '/', Host=host).status in (400, 421), True, f'page as {host!r}')
    other = Standin('--web-hosts', 'video.example, Other.Example')
    equal(ask('GET', '/', port=other.port, host='video.example').status, 200, 'a name of --web-hosts')
    equal(ask('GET', '/', port=other.port, host='other.example:443').status, 200, 'another')
    equal(prompt({'prompt': 'x'}, port=other.port, host='video.example').status, 401, 'but not local by it')
    equal(prompt({'prompt': 'x'}, port=other.port, host='127.0.0.1').status, 401,
          'a proxy that hides itself is not somebody at this machine')
    check(any('#token=' in line for line in other.lines), f'the token is printed: {other.lines}')
    equal(other.stop(), 0, 'exit')


def test_token():
    """What comes through a proxy counts as from elsewhere."""
    far = {'X_Forwarded_For': '192.0.2.9'}
    for options, open_ in ((('--web-token', 'sesame-0123'), False),
                           (('--web-token', 'sesame-0123', '--viewers-open'), True)):
        other = Standin(*options)
        port = other.port
        for where in ('/api/state', '/metrics', '/api/ice', '/api/picture'):
            equal(ask('GET', where, port=port, **far).status, 200 if open_ else 401, f'{where}, open: {open_}')
            equal(ask('GET', where, port=port, Authorization='Bearer sesame-0123', **far).status, 200, where)
        equal(ask('GET', '/', port=port, **far).status, 200, 'the page itself')
        equal(prompt({'prompt': 'x'}, port=port, **far).status, 401, 'prompt without token')
        equal(prompt({'prompt': 'x'}, port=port, Authorization='Bearer sesame-0124', **far).status, 401, 'wrong token')
        equal(prompt({'prompt': 'x'}, port=port, Authorization='Bearer ', **far).status, 401, 'empty token')
        equal(prompt({'prompt': 'x'}, port=port, Authorization='Basic sesame-0123', **far).status, 401, 'Basic')
        equal(prompt({'prompt': 'x'}, port=port, Authorization='Bearer sesame-0123', **far).status, 200, 'token')
        equal(prompt({'prompt': 'x'}, port=port, Authorization='Bearer sesame-0123', **far, **EVIL).status, 403,
              'token from another site')
        equal(whep('v=0', port=port, **far).status, 400 if open_ else 401, 'offer without token')
        equal(whep('v=0', port=port, Authorization='Bearer sesame-0123', **far, **EVIL).status, 400,
              'a player on another site with token may view')
        steer = WebSocket(port, protocols=['unreel', 'token.sesame-0123'], **far)
        check('sec-websocket-protocol: unreel' in steer.head.lower(), steer.head)
        equal(steer.until('state')['may_steer'], True, 'control with token')
        steer.close()
        if open_:
            watch = WebSocket(port, **far)
            equal(watch.until('state')['may_steer'], False, 'control without token')
            equal(watch.ask('reset')['status'], 403, 'steering without token')
            watch.close()
        else:
            try:
                WebSocket(port, **far)
                check(False, 'control without token')
            except Refused as refused:
                equal(refused.status, 401, 'control without token')
        equal(other.stop(), 0, 'exit')


def own_address():
    """Of this machine as others see it; None without a network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(('192.0.2.1', 9))
            return s.getsockname()[0]
        except OSError:
            return None


def test_beyond_loopback():
    other = Standin(address='0.0.0.0:0')
    check(other.token and re.fullmatch('[0-9a-f]{32}', other.token), f'token {other.token}')
    check(other.said('watching and steering need the token'), other.lines)
    check(other.said('without --tls-cert'), other.lines)
    equal(prompt({'prompt': 'x'}, port=other.port).status, 200, 'at this machine')
    address = own_address()
    if address and not address.startswith('127.'):
        equal(prompt({'prompt': 'x'}, port=other.port, address=address).status, 401, 'from elsewhere')
        equal(ask('GET', '/api/state', port=other.port, address=address).status, 401, 'state from elsewhere')
        equal(prompt({'prompt': 'x'}, port=other.port, address=address,
                     Authorization=f'Bearer {other.token}').status, 200, 'with token')
    equal(other.stop(), 0, 'exit')
    check(server.token is None, 'no token is printed for this machine only')


finish(test_origin, test_embedding, test_bad_token, test_quiet, test_host, test_token, test_beyond_loopback)
