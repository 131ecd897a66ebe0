"""WHEP: offers good and bad, viewers that come and vanish."""
import random
import re
import socket
import struct
import threading

import sdp
from harness import LONG, check, equal
from served import PORT, alive, ask, error_of, finish, prompt, whep
from standin import Standin


def test_whep():
    reply = whep(sdp.offer(sdp.video()))
    equal(reply.status, 201, f'offer: {reply.body[:200]}')
    answer, where = reply.body.decode(), reply.headers['location']
    equal(reply.headers['content-type'], 'application/sdp', 'type')
    check(re.fullmatch('/whep/[0-9a-f-]{36}', where), where)
    check(re.search(r'^m=video [1-9]\d* UDP/TLS/RTP/SAVPF 102\r$', answer, re.M), answer)
    check('a=sendonly' in answer and 'a=ssrc:' in answer and 'a=candidate:' in answer, answer)
    check('profile-level-id=42e01f' in answer and 'packetization-mode=1' in answer, answer)
    tag = reply.headers['etag']
    trickle = {'Content_Type': 'application/trickle-ice-sdpfrag'}
    lines = 'a=ice-ufrag:abcd\r\na=mid:1\r\na=candidate:1 1 UDP 2130706431 127.0.0.1 9 typ host\r\na=candidate:x\r\n'
    equal(ask('PATCH', where, lines, If_Match=tag, **trickle).status, 204, 'candidates')
    equal(ask('PATCH', where, lines, **trickle).status, 204, 'candidates without If-Match')
    equal(ask('PATCH', where, lines, If_Match='"x"', **trickle).status, 412, 'candidates of another')
    equal(ask('PATCH', where, lines.replace('abcd', 'other'), **trickle).status, 422, 'ICE restart')
    equal(ask('PATCH', where, lines).status, 415, 'candidates of another type')
    equal(ask('PATCH', where, b'\xff\xfe', **trickle).status, 400, 'no text')
    for method in ('GET', 'PUT', 'POST'):
        reply = ask(method, where)
        equal((reply.status, reply.headers.get('allow')), (405, 'DELETE, PATCH, OPTIONS'), f'{method} of a viewer')
    equal(ask('OPTIONS', where).status, 204, 'OPTIONS of a viewer')
    equal(ask('DELETE', where).status, 200, 'DELETE')
    equal(ask('DELETE', where).status, 404, 'DELETE again')
    equal(ask('PATCH', where, lines, **trickle).status, 404, 'PATCH after it')
    reply = ask('OPTIONS', '/whep')
    equal((reply.status, reply.headers.get('accept-post')), (204, 'application/sdp'), 'OPTIONS')
    equal(ask('GET', '/whep').status, 405, 'GET of WHEP')
    for where in ('/whep/', '/whep/x', f'/whep/{"a" * 5000}'):
        equal(ask('DELETE', where).status, 404, f'DELETE {where[:20]}')


def test_codecs():
    for media, kind in (((sdp.video(('VP8',)),), 'VP8/90000'), ((sdp.video(('VP8', 'H264')),), 'H264/90000'),
                        ((sdp.audio(), sdp.video()), 'H264/90000'), ((sdp.video(), sdp.audio('2')), 'H264/90000')):
        reply = whep(sdp.offer(*media))
        equal(reply.status, 201, f'{kind}: {reply.body[:200]}')
        answer = reply.body.decode()
        check(kind in answer, answer)
        kinds = [re.match(r'm=(\w+)', m[0])[1] for m in media]
        equal(re.findall(r'^m=(\w+)', answer, re.M), kinds, 'media of the answer')
        video = answer[answer.index('m=video'):]
        check('a=sendonly' in video.split('m=audio')[0], video)
        if 'audio' in kinds:
            part = answer[answer.index('m=audio'):].split('m=video')[0]
            check('a=sendonly' not in part and 'a=sendrecv' not in part, part)
        equal(ask('DELETE', reply.headers['location']).status, 200, 'DELETE')
    equal(whep(sdp.offer(sdp.video(('AV1',)))).status, 406, 'neither H.264 nor VP8')
    other = Standin(STANDIN_NO_H264='1')
    check('VP8' in whep(sdp.offer(sdp.video()), port=other.port).body.decode(), 'VP8 without an H.264 encoder')
    equal(whep(sdp.offer(sdp.video(('H264',))), port=other.port).status, 500, 'no encoder at all')
    equal(len([line for line in other.lines if 'no encoder' in line]), 1, 'said once')
    equal(other.stop(), 0, 'exit')


def test_bad_offers():
    good = sdp.offer(sdp.video())
    equal(whep(good, Content_Type='text/plain').status, 415, 'another type')
    equal(whep(good, Content_Type='application/sdp; charset=utf-8').status, 201, 'type with parameter')
    bad = ['', 'hello', 'v=0', 'v=0\r\n', '\0' * 50, good.replace('v=0', 'v=x', 1)[2:], sdp.offer(sdp.audio()),
           sdp.offer(), '{"sdp": 1}']
    bad += [good.replace(line + '\r\n', '') for line in good.split('\r\n')
            if line.startswith(('a=ice-ufrag', 'a=ice-pwd', 'a=fingerprint', 'a=setup', 'a=mid', 'm='))]
    bad += [sdp.offer(sdp.video(direction=d)) for d in ('sendonly', 'inactive')]
    bad += [sdp.offer(sdp.video(setup='passive')), sdp.offer(*[sdp.video(mid=str(i)) for i in range(20)]),
            good.replace('UDP/TLS/RTP/SAVPF', 'RTP/AVP')]
    for text in bad:
        reply = whep(text)
        equal((reply.status, bool(error_of(reply))), (400, True), f'{text[:300]!r}')
    alive('bad offers')


def test_mutated_offers():
    """Offers with a few bytes or lines changed: any proper status, and the server goes on."""
    seed = random.randrange(1 << 32)
    print(f'seed of the mutations: {seed}')
    dice = random.Random(seed)
    good = sdp.offer(sdp.audio(), sdp.video())
    statuses = {}
    for _ in range(300 if LONG else 12):
        lines = good.split('\r\n')
        for _ in range(dice.randint(1, 3)):
            at = dice.randrange(6, len(lines))
            change = dice.randrange(4)
            if change == 0:
                del lines[at]
            elif change == 1:
                lines.insert(at, dice.choice(lines))
            elif change == 2:
                lines[at] = lines[at][:dice.randrange(len(lines[at]) + 1)]
            else:
                text = list(lines[at] or 'x')
                text[dice.randrange(len(text))] = chr(dice.randrange(33, 127))
                lines[at] = ''.join(text)
        reply = whep('\r\n'.join(lines))
        statuses[reply.status] = statuses.get(reply.status, 0) + 1
        check(reply.status in (201, 400, 406), f'status {reply.status} for\n' + '\n'.join(lines))
        if reply.status == 201:
            ask('DELETE', reply.headers['location'])
    print(f'statuses: {statuses}')
    alive('mutated offers')


def test_vanishing():
    """Viewers that go away before they have their answer."""
    text = sdp.offer(sdp.video()).encode()
    for _ in range(12):
        s = socket.create_connection(('127.0.0.1', PORT), 5)
        s.sendall(f'POST /whep HTTP/1.1\r\nHost: 127.0.0.1:{PORT}\r\nContent-Type: application/sdp\r\n'
                  f'Content-Length: {len(text)}\r\n\r\n'.encode() + text)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        s.close()  # by a reset
    alive('viewers that vanish')
    reply = whep(text)
    equal(reply.status, 201, 'the next viewer')
    ask('DELETE', reply.headers['location'])


def test_viewer_places():
    other = Standin()
    places = []

    def offer():
        reply = whep(sdp.offer(sdp.video()), port=other.port)
        if reply.status == 201:
            places.append(reply.headers['location'])
        return reply.status, reply.headers.get('retry-after')

    def gone(mark):
        """How many the server has given up until now: none connects, so each goes 20 s after its answer."""
        equal(prompt({'prompt': mark}, port=other.port).status, 200, 'mark')
        check(other.said(mark), mark)
        return sum('is gone: ' in line for line in other.lines)

    at_once = [threading.Thread(target=offer) for _ in range(32)]  # one by one the first may be gone too soon
    for thread in at_once:
        thread.start()
    for thread in at_once:
        thread.join()
    for i in range(100):
        before = gone(f'before offer {i}.')
        answer = offer()
        if answer[0] != 201:
            break
    equal(answer, (503, '10'), f'with {len(places)} places taken')
    left = len(places) - gone('after all.'), len(places) - before
    check(left[0] <= 32 <= left[1], f'{left} viewers have a place')  # the same, but for who is given up meanwhile
    check(any(ask('DELETE', where, port=other.port).status == 200 for where in reversed(places)),
          'one goes, of those that are still there')
    equal(offer()[0], 201, 'then there is a place')
    equal(other.stop(), 0, 'exit with viewers')


def test_no_picture():
    other = Standin(STANDIN_SILENT='1')
    equal(ask('GET', '/healthz', port=other.port).json(), {'status': 'starting'}, 'health')
    reply = whep(sdp.offer(sdp.video()), port=other.port)
    equal((reply.status, reply.headers.get('retry-after')), (503, '1'), 'offer without pictures')
    check('no picture' in error_of(reply), reply.body)
    equal(other.stop(), 0, 'exit')


finish(test_whep, test_codecs, test_bad_offers, test_mutated_offers, test_vanishing, test_viewer_places, test_no_picture)
