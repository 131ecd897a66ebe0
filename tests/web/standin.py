"""Starts the page's server, over a made-up session (standin.c)."""
import os
import re
import signal
import subprocess
import threading
import time

PROGRAM = os.environ['STANDIN']


class Standin:
    def __init__(self, *options, address='127.0.0.1:0', program=(PROGRAM,), cwd=None, **environment):
        self.lines = []
        self.process = subprocess.Popen([*program, '--webrtc', address, *options],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, text=True, errors='replace', cwd=cwd,
                                        env={**os.environ, **environment})
        self.ready = threading.Event()
        self.port = self.token = self.url = None
        threading.Thread(target=self._read, daemon=True).start()
        self.ready.wait(60)

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line.rstrip())
            match = re.search(r'webrtc: (https?://\S+:(\d+)/)(?:#token=(\S+))?$', line.rstrip())
            if match and not self.port:
                self.url, self.port, self.token = match[1], int(match[2]), match[3]
                self.ready.set()
        self.ready.set()

    def said(self, text, seconds=60):
        """Waits until a line with `text` was printed."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if any(text in line for line in self.lines):
                return True
            time.sleep(0.02)
        return False

    def memory(self):
        """Resident set in MiB."""
        with open(f'/proc/{self.process.pid}/statm', encoding='ascii') as file:
            return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE') / (1 << 20)

    def stop(self, seconds=25):
        """The exit status. Less than the 30 s after which connections that say nothing are closed: it does
        not wait for those."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return f'still running {seconds} s after SIGTERM'
