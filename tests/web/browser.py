"""Headless Chromium, driven through a pipe by its DevTools protocol."""
import base64
import json
import os
import shutil
import subprocess
import tempfile
import time

NAMES = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable')


def find():
    """The program, or None."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Browser:
    def __init__(self, *arguments):
        self.home = tempfile.mkdtemp(prefix='unreel-chromium-')
        to_read, self.write_end = os.pipe()
        self.read_end, to_write = os.pipe()

        def move():
            os.dup2(to_read, 100)
            os.dup2(to_write, 101)
            os.dup2(100, 3)
            os.dup2(101, 4)
            for fd in (3, 4):
                os.set_inheritable(fd, True)

        self.process = subprocess.Popen(
            [find(), '--headless=new', '--no-sandbox', '--disable-gpu', '--remote-debugging-pipe',
             '--no-first-run', '--disable-background-networking', '--disable-dev-shm-usage',
             '--autoplay-policy=no-user-gesture-required', '--hide-scrollbars',
             f'--user-data-dir={self.home}', *arguments, 'about:blank'],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            preexec_fn=move, close_fds=False, env={**os.environ, 'HOME': self.home})
        os.close(to_read)
        os.close(to_write)
        self.buffer = b''
        self.number = 0
        self.events = []

    def _receive(self):
        while b'\0' not in self.buffer:
            piece = os.read(self.read_end, 1 << 16)
            if not piece:
                raise RuntimeError('Chromium has ended')
            self.buffer += piece
        text, self.buffer = self.buffer.split(b'\0', 1)
        return json.loads(text)

    def call(self, method, session=None, **params):
        self.number += 1
        message = {'id': self.number, 'method': method, 'params': params}
        if session:
            message['sessionId'] = session
        os.write(self.write_end, json.dumps(message).encode() + b'\0')
        while True:
            answer = self._receive()
            if answer.get('id') == self.number:
                if 'error' in answer:
                    raise RuntimeError(f'{method}: {answer["error"]}')
                return answer['result']
            self.events.append(answer)

    def page(self, url='about:blank', **size):
        return Page(self, url, **size)

    def close(self):
        try:
            self.call('Browser.close')
        except (RuntimeError, OSError):
            pass
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.read_end)
        os.close(self.write_end)
        shutil.rmtree(self.home, ignore_errors=True)

    def kill(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.home, ignore_errors=True)


class Page:
    def __init__(self, browser, url, width=1440, height=900, mobile=False, dark=True):
        self.browser = browser
        self.target = browser.call('Target.createTarget', url='about:blank', newWindow=True)['targetId']
        self.session = browser.call('Target.attachToTarget', targetId=self.target, flatten=True)['sessionId']
        for domain in ('Page', 'Runtime', 'Log'):
            self.call(f'{domain}.enable')
        self.resize(width, height, mobile)
        self.scheme(dark)
        if url != 'about:blank':
            self.open(url)

    def call(self, method, **params):
        return self.browser.call(method, self.session, **params)

    def resize(self, width, height, mobile=False):
        self.call('Emulation.setDeviceMetricsOverride', width=width, height=height,
                  deviceScaleFactor=2 if mobile else 1, mobile=mobile)

    def scheme(self, dark):
        self.call('Emulation.setEmulatedMedia',
                  features=[{'name': 'prefers-color-scheme', 'value': 'dark' if dark else 'light'}])

    def open(self, url):
        self.call('Page.navigate', url=url)

    def run(self, script):
        """The value of an expression, awaited."""
        result = self.call('Runtime.evaluate', expression=script, awaitPromise=True, returnByValue=True)
        if 'exceptionDetails' in result:
            details = result['exceptionDetails']
            raise RuntimeError(details.get('exception', {}).get('description', details['text']))
        return result['result'].get('value')

    def wait(self, script, seconds=30):
        """The expression's first true value; None after the time."""
        end = time.monotonic() + seconds
        while True:
            try:
                value = self.run(script)
            except RuntimeError:  # the page is just being replaced
                value = None
            if value or time.monotonic() > end:
                return value
            time.sleep(0.05)

    def key(self, key, code=None, text=None, modifiers=0):
        for kind in ('keyDown', 'keyUp'):
            self.call('Input.dispatchKeyEvent', type=kind, key=key, code=code or key, modifiers=modifiers,
                      **({'text': text} if text and kind == 'keyDown' else {}))

    def type(self, text):
        self.call('Input.insertText', text=text)

    def enter(self):
        self.call('Input.dispatchKeyEvent', type='keyDown', key='Enter', code='Enter', text='\r',
                  windowsVirtualKeyCode=13)
        self.call('Input.dispatchKeyEvent', type='keyUp', key='Enter', code='Enter',
                  windowsVirtualKeyCode=13)

    def screenshot(self, path, whole=False):
        data = self.call('Page.captureScreenshot', format='png', captureBeyondViewport=whole)['data']
        with open(path, 'wb') as file:
            file.write(base64.b64decode(data))

    def problems(self):
        """What the page logged as errors, uncaught exceptions included."""
        self.run('0')  # takes in what has come
        found = []
        for event in self.browser.events:
            if event.get('sessionId') != self.session:
                continue
            if event['method'] == 'Runtime.exceptionThrown':
                details = event['params']['exceptionDetails']
                found.append(details.get('exception', {}).get('description', details['text']))
            elif event['method'] == 'Log.entryAdded' and event['params']['entry']['level'] == 'error':
                found.append(event['params']['entry']['text'])
        return found

    def close(self):
        self.browser.call('Target.closeTarget', targetId=self.target)
