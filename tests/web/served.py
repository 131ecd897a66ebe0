"""Shared by the tests of the page's server: one that runs, and how to ask it."""
import json

import harness
from harness import check, equal, folder
from standin import Standin
from websocket import request

PROMPT_MAX = 16384
EVIL = {'Origin': 'http://evil.example'}
server = Standin(cwd=folder)
PORT = server.port


def ask(method, where, body=b'', port=None, **more):
    return request(port or PORT, method, where, body, **more)


def prompt(text, port=None, **more):
    more = {'Content_Type': 'application/json', **more}
    body = text if isinstance(text, bytes) else json.dumps(text)
    return ask('POST', '/api/prompt', body, port, **more)


def whep(body, where='/whep', method='POST', port=None, **more):
    return ask(method, where, body, port, **{'Content_Type': 'application/sdp', **more})


def alive(what):
    equal(ask('GET', '/healthz').status, 200, f'the server after {what}')


def error_of(reply):
    return reply.json().get('error', '') if reply.body else ''


def finish(*tests):
    """Runs the tests and ends the program."""
    try:
        harness.each(*tests)
    finally:
        equal(server.stop(), 0, 'exit of the server')
        for text in server.lines:
            check('CRITICAL' not in text and 'WARNING **' not in text and 'Sanitizer' not in text, text)
    harness.end()
