"""The WebSocket for control."""
import json
import statistics
import time

from harness import check, equal, folder
from served import PORT, PROMPT_MAX, alive, ask, finish, prompt
from standin import Standin
from websocket import Refused, WebSocket


def leave(control):
    """Whoever comes next may steer at once: that this one has closed is noticed a little later."""
    equal(control.ask('release')['type'], 'done', 'release')
    control.close()


def test_control():
    control = WebSocket(PORT)
    hello = control.message()
    equal((hello['type'], hello['prompt_max']), ('hello', PROMPT_MAX), 'hello')
    equal(control.message()['steering'], 'nobody', 'first state')
    times = []
    for _ in range(9):
        control.until('state')
        times.append(time.monotonic())
    apart = [b - a for a, b in zip(times, times[1:])]  # a machine that stalls spoils one or two
    check(0.3 < statistics.median(apart) < 0.8, f'seconds between states: {apart}')
    control.send(json.dumps({'do': 'ping', 'at': 12.5}))
    pong = control.until('pong')
    equal(pong['at'], 12.5, 'pong')
    check(pong['running'] > 0, pong)
    reply = control.ask('prompt', prompt='a lake', how='blend', id=41)
    equal((reply['type'], reply['id'], reply['status']), ('done', 41, 200), 'prompt')
    state = control.until('state')
    equal((state['steering'], state['state']['prompt']), ('you', 'a lake'), 'state at once')
    equal(control.ask('seed', seed=7)['type'], 'done', 'seed')
    equal(control.ask('seed', seed='9223372036854775807')['type'], 'done', 'largest seed')
    equal(control.until('state')['state']['seed'], 9223372036854775807, 'largest seed')
    equal(control.ask('pause', on=True)['type'], 'done', 'pause')
    equal(control.until('state')['state']['paused'], True, 'paused')
    equal(control.ask('pause', on=False)['type'], 'done', 'goes on')
    equal(control.ask('reset')['type'], 'done', 'reset')
    check(control.ask('record', on=True)['file'].endswith('.mp4'), 'record')
    equal(control.ask('record', on=True)['type'], 'error', 'record twice')
    equal(control.ask('record', on=False)['type'], 'done', 'record ends')
    equal(control.ask('record', on=False)['status'], 409, 'record ends twice')
    for i in range(8):  # without waiting for answers: they are done in this order
        control.send(json.dumps({'do': 'record', 'on': i % 2 == 0, 'id': i}))
    for i in range(8):
        reply = control.until('done', 'error')
        equal((reply['id'], reply['type']), (i, 'done'), f'recordings one after another: {reply}')
    check(control.ask('snapshot')['file'].endswith('.png'), 'snapshot')
    leave(control)


def test_bad_control():
    control = WebSocket(PORT)
    for text in ('', '{', 'null', '{"do": "fly"}', '{"do": "seed", "seed": -1}', '{"do": "seed", "seed": 1.5}',
                 '{"do": "seed", "seed": 9223372036854775808}', '{"do": "pause"}', '{"do": "pause", "on": 1}',
                 '{"do": "prompt"}', json.dumps({'do': 'prompt', 'prompt': 'x' * (PROMPT_MAX + 1)}),
                 '{"do": "reset", "prompt": "x"}'):
        control.send(text)
        reply = control.until('done', 'error')
        equal((reply['type'], reply['status']), ('error', 400), text[:50])
    for text in ('{"id": 17, "do": "fly"}', '{"do": "pause", "on": 1, "id": 17}', '{"do": "reset", "id": 17, "x": 1}'):
        control.send(text)
        reply = control.until('done', 'error')
        equal((reply['status'], reply['id']), (400, 17), f'the id of {text}')
    control.send(b'\0\1\2', kind=2)
    equal(control.until('done', 'error')['type'], 'error', 'binary')
    equal(control.ask('reset')['type'], 'done', 'still there')
    leave(control)
    for text, masked in (('x' * (1 << 20), True), ('{"do": "reset"}', False)):
        control = WebSocket(PORT)
        try:
            control.send(text, masked=masked)
            equal(control.until('done', 'error'), None, 'a megabyte, or not masked')
        except ConnectionError:  # closed before all of it was read
            check(True, '')
        control.close()
    for _ in range(20):  # gone in the middle
        WebSocket(PORT).close()
    equal(ask('GET', '/control').status, 400, 'no upgrade')
    alive('bad control messages')


def test_one_steers():
    first, second = WebSocket(PORT), WebSocket(PORT)
    equal(first.ask('reset')['type'], 'done', 'the first takes the wheel')
    reply = second.ask('prompt', prompt='me too')
    equal((reply['type'], reply['status']), ('error', 409), 'the second has to wait')
    check('steers now' in reply['error'], reply)
    equal(prompt({'prompt': 'script'}).status, 409, 'scripts too')
    equal(second.ask('claim')['status'], 409, 'asked politely')
    equal(second.ask('claim', on=True)['type'], 'done', 'taken over')
    equal(second.ask('prompt', prompt='mine')['type'], 'done', 'then it steers')
    equal(first.ask('reset')['status'], 409, 'and the first no longer')
    equal(second.ask('release')['type'], 'done', 'given up')
    equal(prompt({'prompt': 'script'}).status, 200, 'a script')
    acted = time.monotonic()
    equal(first.ask('reset')['type'], 'done', 'scripts do not keep it')
    first.close()
    for who in ('other', 'nobody'):  # states from before come first
        while second.until('state')['steering'] != who:
            pass
    # doing nothing gives it up as well, but only after 30 s
    check(time.monotonic() - acted < 25, 'who leaves gives it up')
    equal(second.ask('reset')['type'], 'done', 'and another steers')
    leave(second)


def test_control_places():
    held = []
    refused = 0
    for _ in range(70):
        try:
            held.append(WebSocket(PORT))
        except Refused as error:
            equal(error.status, 503, 'no place')
            refused += 1
    check(len(held) <= 64 and refused >= 6, f'{len(held)} taken, {refused} refused')
    for each_one in held:
        each_one.close()
    end = time.monotonic() + 30
    while True:  # that they have closed is noticed a little later
        try:
            WebSocket(PORT).close()
            break
        except Refused:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def test_broken_recording():
    other = Standin(cwd=folder, STANDIN_FULL_DISK='1')
    control = WebSocket(other.port)
    equal(control.ask('record', on=True)['status'], 200, 'record')
    reply = control.ask('record', on=False)
    equal((reply['type'], reply['status']), ('error', 500), 'a recording that is not whole')
    check('not whole' in reply['error'], reply)
    control.close()
    equal(other.stop(), 0, 'exit')


finish(test_broken_recording, test_control, test_bad_control, test_one_steers, test_control_places)
