"""A small WebSocket client, and one for plain HTTP over a socket."""
import base64
import json
import os
import socket
import struct


class Refused(Exception):
    """Answered with another status than 101."""

    def __init__(self, status):
        super().__init__(f'status {status}')
        self.status = status


class WebSocket:
    def __init__(self, port, path='/control', host=None, address='127.0.0.1', protocols=None, **headers):
        self.socket = socket.create_connection((address, port), 60)
        self.buffer = b''
        self.close_code = None
        lines = [f'GET {path} HTTP/1.1', f'Host: {host or f"{address}:{port}"}', 'Upgrade: websocket',
                 'Connection: Upgrade', 'Sec-WebSocket-Version: 13',
                 f'Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}']
        if protocols:
            lines.append(f'Sec-WebSocket-Protocol: {", ".join(protocols)}')
        lines += [f'{name.replace("_", "-")}: {value}' for name, value in headers.items()]
        self.socket.sendall('\r\n'.join(lines + ['', '']).encode())
        while b'\r\n\r\n' not in self.buffer:
            self._fill()
        head, self.buffer = self.buffer.split(b'\r\n\r\n', 1)
        self.head = head.decode()
        status = int(self.head.split()[1])
        if status != 101:
            self.socket.close()
            raise Refused(status)

    def _fill(self):
        piece = self.socket.recv(1 << 16)
        if not piece:
            raise ConnectionError('closed')
        self.buffer += piece

    def _take(self, count):
        while len(self.buffer) < count:
            self._fill()
        piece, self.buffer = self.buffer[:count], self.buffer[count:]
        return piece

    def send(self, payload, kind=1, masked=True):
        payload = payload if isinstance(payload, bytes) else payload.encode()
        size = len(payload)
        head = bytes([0x80 | kind])
        mask = 0x80 if masked else 0
        if size < 126:
            head += bytes([mask | size])
        elif size < 65536:
            head += bytes([mask | 126]) + struct.pack('>H', size)
        else:
            head += bytes([mask | 127]) + struct.pack('>Q', size)
        if masked:
            key = os.urandom(4)
            stream = key * (size // 4 + 1)
            payload = bytes(a ^ b for a, b in zip(payload, stream))
            head += key
        self.socket.sendall(head + payload)

    def ask(self, what, **members):
        self.send(json.dumps({'do': what, **members}))
        return self.until('done', 'error')

    def receive(self):
        """The next text message; None after the other side closed."""
        while True:
            first, second = self._take(2)
            size = second & 127
            if size == 126:
                size, = struct.unpack('>H', self._take(2))
            elif size == 127:
                size, = struct.unpack('>Q', self._take(8))
            payload = self._take(size)
            kind = first & 15
            if kind == 1:
                return payload.decode()
            if kind == 8:
                self.close_code = struct.unpack('>H', payload[:2])[0] if size >= 2 else 0
                return None
            if kind == 9:
                self.send(payload, 10)

    def message(self):
        text = self.receive()
        return None if text is None else json.loads(text)

    def until(self, *types):
        """The next message of one of these types; None after the other side closed."""
        while True:
            message = self.message()
            if message is None or message['type'] in types:
                return message

    def close(self):
        self.socket.close()


class Reply:
    def __init__(self, raw):
        head, _, self.body = raw.partition(b'\r\n\r\n')
        lines = head.decode('latin-1').split('\r\n')
        self.status = int(lines[0].split()[1]) if lines[0].startswith('HTTP/') else 0
        self.headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(':') for line in lines[1:])}

    def json(self):
        return json.loads(self.body)


def request(port, method, path, body=b'', host=None, address='127.0.0.1', tls=None, timeout=60, **headers):
    """One request on a connection of its own. Headers with underscores for dashes; None leaves out
    Host or Content-Length."""
    body = body if isinstance(body, bytes) else body.encode()
    lines = [f'{method} {path} HTTP/1.1', 'Connection: close']
    fields = {'Host': host or f'{address}:{port}', 'Content-Length': len(body)}
    fields.update({k.replace('_', '-'): v for k, v in headers.items()})
    lines += [f'{k}: {v}' for k, v in fields.items() if v is not None]
    with socket.create_connection((address, port), timeout) as s:
        s = tls.wrap_socket(s, server_hostname=address) if tls else s
        try:
            s.sendall('\r\n'.join(lines + ['', '']).encode() + body)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has heard enough; the answer may be there all the same
        raw = b''
        try:
            while piece := s.recv(1 << 16):
                raw += piece
        except ConnectionResetError:
            pass
        return Reply(raw)
