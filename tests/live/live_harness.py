"""For tests of `unreel live`: runs it beside the test, counts the pictures of its outputs by the number
that --stamp draws into each, and runs an RTMP server and an X server."""
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.environ.get('SOURCE', ''), 'tests/tools'))
from harness import SOURCE, UNREEL, check, clean_environment, equal, folder, path, run  # noqa: E402

NGINX = '/usr/sbin/nginx'
RTMP_MODULE = '/usr/lib/nginx/modules/ngx_rtmp_module.so'
BITS = 24

taken = []  # sockets whose names tell tests beside this one that a port has been given away


def free_port():
    """A port that nobody listens on, of those set aside for these tests, for this test until it ends."""
    while True:
        port = random.randrange(21900, 22000)
        mark = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            try:
                mark.bind(f'\0unreel-port-{port}')
                tcp.bind(('127.0.0.1', port))
                udp.bind(('127.0.0.1', port))
                taken.append(mark)
                return port
            except OSError:
                mark.close()


def until(good, seconds=60):
    """Waits until a function returns something true; what it returned last."""
    end = time.monotonic() + seconds
    while not (seen := good()) and time.monotonic() < end:
        time.sleep(0.05)
    return seen


class Live:
    """`unreel live` at work, with stamped pictures."""

    def __init__(self, *args, env=None, stamp=True, stdin=subprocess.DEVNULL):
        self.out = open(path(f'out{random.random()}'), 'w+')
        self.err = open(path(f'err{random.random()}'), 'w+')
        self.process = subprocess.Popen(
            [UNREEL, 'live', '--prompt', 'a fox', '--json', *(['--stamp'] if stamp else []),
             *map(str, args)],
            cwd=folder, env=env or clean_environment(), stdin=stdin, stdout=self.out, stderr=self.err,
            text=True)

    def states(self):
        """The lines of --json so far."""
        with open(self.out.name) as file:
            return [json.loads(line) for line in file if line.endswith('\n')]

    def messages(self):
        with open(self.err.name) as file:
            return list(file)

    def wait_for(self, good, seconds=60):
        """Until a function of the newest state is true; whether it became true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            states = self.states()
            if states and good(states[-1]):
                return True
            if self.process.poll() is not None:
                return False
            time.sleep(0.05)
        return False

    def end(self, number=None, seconds=90):
        """Its exit code, after a signal if one is given."""
        if number:
            self.process.send_signal(number)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return 'hangs'
        finally:
            self.out.close()
            self.err.close()


def output(state, name):
    return next(o for o in state['outputs'] if o['name'] == name)


def numbers(name):
    """The stamped numbers of a video's pictures in order; None where it cannot be read."""
    size = run('ffprobe', '-v', 'error', '-select_streams', 'v:0', '-show_entries', 'stream=width,height',
               '-of', 'csv=p=0', path(name)).stdout.split()
    if not size:
        return []
    width, height = (int(n) for n in size[0].split(',')[:2])
    raw = run('ffmpeg', '-v', 'error', '-i', path(name), '-fps_mode', 'passthrough', '-f', 'rawvideo',
              '-pix_fmt', 'gray', '-', binary=True).stdout
    cell = min(width // BITS, 16) & ~1
    seen = []
    for begin in range(0, len(raw) - width * height + 1, width * height):
        number = 0
        for bit in range(BITS):
            x = begin + bit * cell + cell // 2
            light = raw[x + cell // 2 * width] > 128
            if light == (raw[x + (cell + cell // 2) * width] > 128):
                number = None
                break
            number = 2 * number + light
        seen.append(number)
    return seen


def check_numbers(seen, what, first=0, last=None, repeats=False, missing=0):
    """Every picture from `first` to `last` is there, in order; once, or with `repeats` several times."""
    if not check(seen, f'{what}: no pictures'):
        return
    check(None not in seen, f'{what}: {seen.count(None)} of {len(seen)} pictures cannot be read')
    seen = [n for n in seen if n is not None]
    check(all(a < b or (repeats and a == b) for a, b in zip(seen, seen[1:])), f'{what}: order {seen}')
    if first is not None:
        equal(seen[0], first, f'{what}: first picture')
    if last is not None:
        equal(seen[-1], last, f'{what}: last picture')
    lost = sorted(set(range(seen[0], seen[-1] + 1)) - set(seen))
    check(len(lost) <= missing, f'{what}: {len(lost)} pictures of {seen[-1] - seen[0] + 1} are missing: '
                                f'{lost[:20]}')


class Server:
    """nginx-rtmp on this machine, which records what it is sent."""

    @staticmethod
    def is_installed():
        return os.path.exists(NGINX) and os.path.exists(RTMP_MODULE)

    def __init__(self):
        self.port = free_port()
        self.folder = path(f'server{self.port}')
        os.makedirs(os.path.join(self.folder, 'recorded'))
        with open(os.path.join(self.folder, 'conf'), 'w') as file:
            user = 'user root;' if os.geteuid() == 0 else ''
            file.write(f'''load_module {RTMP_MODULE};
daemon off; master_process off; {user}
pid {self.folder}/pid; error_log {self.folder}/log info;
events {{ worker_connections 64; }}
rtmp {{ server {{ listen 127.0.0.1:{self.port}; application live {{
    live on; record all; record_path {self.folder}/recorded; record_unique on; record_suffix .flv;
}} }} }}
''')
        self.process = None
        self.begun = 0  # bytes of the log before the last start

    def url(self):
        return f'rtmp://127.0.0.1:{self.port}/live/secret'

    def start(self):
        log = os.path.join(self.folder, 'log')
        self.begun = os.path.getsize(log) if os.path.exists(log) else 0
        self.process = subprocess.Popen([NGINX, '-p', self.folder, '-e', f'{self.folder}/log', '-c',
                                         f'{self.folder}/conf'], stdin=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        if not until(self.listens):
            raise RuntimeError('nginx does not listen')

    def listens(self):
        with socket.socket() as probe:
            return probe.connect_ex(('127.0.0.1', self.port)) == 0

    def is_left(self):
        """Whether somebody came after start(), which is the first itself, and all have left: what they sent
        has been read."""
        with open(os.path.join(self.folder, 'log'), errors='replace') as file:
            file.seek(self.begun)
            log = file.read()
        came = set(re.findall(r'\*(\d+) client connected', log))
        return len(came) > 1 and came <= set(re.findall(r'\*(\d+) disconnect', log))

    def stop(self):
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()

    def recorded(self):
        """Files, in the order they were begun."""
        names = [os.path.join(self.folder, 'recorded', name)
                 for name in os.listdir(os.path.join(self.folder, 'recorded'))]
        return sorted((name for name in names if os.path.getsize(name) > 1000), key=os.path.getmtime)


class Screen:
    """An X server of our own, without a window manager."""

    def __init__(self):
        read, write = os.pipe()
        self.process = subprocess.Popen(
            ['Xvfb', '-displayfd', str(write), '-screen', '0', '1280x800x24',
             '-r'],  # a machine that stands still while a key is down would repeat it
            pass_fds=[write], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(write)
        with os.fdopen(read) as pipe:
            self.display = ':' + pipe.readline().strip()
        self.environment = clean_environment()
        self.environment.update(DISPLAY=self.display, SDL_VIDEODRIVER='x11')

    def key(self, *keys):
        run('xdotool', 'key', '--delay', '60', *keys, env=self.environment)
        time.sleep(0.3)

    def type(self, text):
        run('xdotool', 'type', '--delay', '40', text, env=self.environment)
        time.sleep(0.3)

    def shot(self, name):
        """Brightness of the screen in a grid of 4x4: [16] numbers."""
        run('import', '-window', 'root', path(name), env=self.environment)
        text = run('convert', path(name), '-colorspace', 'Gray', '-scale', '4x4!', '-depth', '8',
                   'txt:-').stdout
        return [int(v) for v in re.findall(r'gray\((\d+)', text) or re.findall(r'\((\d+)', text)]

    def close(self):
        self.process.terminate()
        self.process.wait()


def boxes(name):
    """The types of an MP4's outermost boxes."""
    seen = []
    with open(path(name), 'rb') as file:
        size = os.path.getsize(path(name))
        at = 0
        while at + 8 <= size:
            file.seek(at)
            header = file.read(16)
            length = int.from_bytes(header[:4], 'big')
            if length == 1:
                length = int.from_bytes(header[8:16], 'big')
            seen.append(header[4:8].decode('latin-1'))
            if length < 8:
                break
            at += length
    return seen


def need_tools(skip):
    for tool in ('ffmpeg', 'ffprobe'):
        if not shutil.which(tool):
            skip(f'{tool} is not installed')
    if not os.path.isdir(os.path.join(SOURCE, 'tests/golden/nano')):
        skip('tests/golden/nano is not there')
