"""For tests of the command: counts checks, runs programs, looks into videos.

Every test is a program that ends with end(). The default model is the small random one of
tests/golden/nano. Meson gives it, in the environment:
UNREEL (the command), WRITE_VIDEO (write_video.c), SOURCE (the source folder)."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback

UNREEL = os.environ.get('UNREEL', '')
WRITE_VIDEO = os.environ.get('WRITE_VIDEO', '')
SOURCE = os.environ.get('SOURCE', '')
LONG = bool(os.environ.get('UNREEL_TEST_LONG'))

counts = [0, 0]  # passed, failed
folder = tempfile.mkdtemp(prefix='unreel-test-')


def small_model():
    """A model folder: nano's files, and how they are used."""
    nano = os.path.join(SOURCE, 'tests/golden/nano')
    parts = os.path.join(nano, 'wan_models/Wan2.1-T2V-nano')
    model = os.path.join(folder, 'model')
    os.mkdir(model)
    for name in os.listdir(parts) if os.path.isdir(parts) else ():
        os.symlink(os.path.join(parts, name), os.path.join(model, name))
    with open(os.path.join(model, 'unreel.yaml'), 'w', encoding='utf-8') as config:
        if os.path.exists(nano + '.yaml'):
            config.write(open(nano + '.yaml', encoding='utf-8').read())
        config.write(f'checkpoint_path: {nano}/checkpoints/self_forcing_mini.pt\n')
    return model


os.environ['UNREEL_MODEL'] = small_model()


def check(condition, what):
    counts[0 if condition else 1] += 1
    if not condition:
        frame = sys._getframe(1)
        while frame.f_code.co_filename == __file__ or frame.f_code.co_name == 'fails':
            frame = frame.f_back
        print(f'{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}: failed: {what}',
              flush=True)
    return condition


def equal(seen, expected, what):
    check(seen == expected, f'{what}: {seen!r} instead of {expected!r}')


def each(*tests):
    """Runs functions; an exception in one is a failure, the others still run."""
    for test in tests:
        try:
            test()
        except Exception:
            counts[1] += 1
            print(f'{test.__name__}: failed:\n{traceback.format_exc()}', flush=True)


def end():
    shutil.rmtree(folder, ignore_errors=True)
    print(f'{counts[0]} passed, {counts[1]} failed')
    sys.exit(1 if counts[1] or not counts[0] else 0)


def skip(reason):
    shutil.rmtree(folder, ignore_errors=True)
    print(f'skipped: {reason}')
    sys.exit(77)


class Stalls:
    """How long this machine stands still beside a test: seconds by which short sleeps take too long, of each
    at most so many."""

    def __init__(self, most=60):
        self.seconds, self.most, self.ends = 0, most, False
        self.thread = threading.Thread(target=self.look, daemon=True)
        self.thread.start()

    def look(self):
        while not self.ends:
            begin = time.monotonic()
            time.sleep(0.01)
            longer = time.monotonic() - begin - 0.01
            if longer > 0.02:  # less is what any machine does
                self.seconds += min(longer, self.most)

    def end(self):
        self.ends = True
        self.thread.join()
        return self.seconds


def path(name):
    return os.path.join(folder, name)


def clean_environment(**more):
    """Without what a launcher around the tests may have set."""
    env = {k: v for k, v in os.environ.items()
           if not k.startswith(('OMPI_', 'SLURM_', 'PMIX_')) and
           k not in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK')}
    env.update(more)
    return env


def run(*args, env=None, binary=False, **more):
    """Runs a program; .returncode, .stdout, .stderr."""
    return subprocess.run([str(a) for a in args], stdin=subprocess.DEVNULL, timeout=600,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=env or clean_environment(), cwd=folder, text=not binary,
                          errors=None if binary else 'replace', **more)


def unreel(*args, **more):
    return run(UNREEL, *args, **more)


def errors(result):
    """The lines the command printed, without the one that says why no GPU is used."""
    text = result.stderr if isinstance(result.stderr, str) else result.stderr.decode()
    return [line for line in text.splitlines()
            if line.startswith('unreel: ') and not line.endswith('; using the CPU')]


def pictures(name):
    """How many pictures a decoder gets out of a file."""
    result = run('ffmpeg', '-v', 'error', '-i', path(name), '-map', '0:v', '-f', 'framemd5', '-')
    return sum(1 for line in result.stdout.splitlines() if not line.startswith('#'))


def probe(name):
    """What ffprobe says: the video stream's fields, with the file's tags as 'tags'."""
    result = run('ffprobe', '-v', 'error', '-show_streams', '-show_format', '-of', 'json', path(name))
    seen = json.loads(result.stdout or '{}')
    stream = seen.get('streams', [{}])[0]
    stream['tags'] = seen.get('format', {}).get('tags', {})
    return stream


def need(*programs):
    for program in programs:
        if not shutil.which(program):
            skip(f'{program} is not installed')
