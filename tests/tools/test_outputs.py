"""Y4M and MP4 outputs with made-up pictures: contents, kills, full disks, two runs into one file."""
import fcntl
import os
import re
import subprocess

from harness import LONG, WRITE_VIDEO, check, clean_environment, each, end, equal, need, path, pictures, probe, run

# A kill may lose what is in the encoder (6 pictures), in the muxer and one fragment (4).
KILL_LOSS_MAX = 12


def write(name, *options, **more):
    return run(WRITE_VIDEO, f'path={path(name)}', *options, **more)


def exists(name):
    return os.path.exists(path(name))


def remove(name):
    for each in (name, name + '.part'):
        if exists(each):
            os.unlink(path(each))


def test_y4m():
    result = write('a.y4m', 'pictures=5', 'size=64x48', 'fps=23.976')
    equal(result.returncode, 0, 'exit code')
    data = open(path('a.y4m'), 'rb').read()
    header, rest = data.split(b'\n', 1)
    equal(header, b'YUV4MPEG2 W64 H48 F24000:1001 Ip A1:1 C420jpeg XCOLORRANGE=LIMITED', 'header')
    size = 64 * 48 * 3 // 2
    equal(len(rest), 5 * (6 + size), 'bytes of the pictures')
    equal([rest[i * (6 + size):][:6] for i in range(5)], [b'FRAME\n'] * 5, 'picture headers')
    # The block at the top left carries the picture's number; see paint().
    equal([rest[i * (6 + size) + 6] for i in range(5)], [16 + i for i in range(5)], 'luma')
    equal(rest[6 + 64 * 48], 64, 'chroma')
    check(not exists('a.y4m.part'), 'no .part is left')
    equal(pictures('a.y4m'), 5, 'pictures ffmpeg decodes')

    result = run(WRITE_VIDEO, 'path=-', 'pictures=5', 'size=64x48', 'fps=23.976', binary=True)
    check(result.stdout == data, 'standard output has the same bytes as the file')


def test_y4m_broken_pipe():
    process = subprocess.Popen([WRITE_VIDEO, 'path=-', 'pictures=500'], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=False)
    process.stdout.read(1000)
    process.stdout.close()
    message = process.stderr.read().decode()
    equal(process.wait(timeout=60), 1, 'exit code when the reader goes')
    check('stdout: Broken pipe' in message, f'says so: {message!r}')


def test_mp4():
    result = write('a.mp4', 'pictures=81', 'size=256x128', 'fps=16')
    equal(result.returncode, 0, f'exit code ({result.stderr})')
    check(exists('a.mp4') and not exists('a.mp4.part'), 'renamed')
    info = probe('a.mp4')
    expected = {'codec_name': 'h264', 'width': 256, 'height': 128, 'r_frame_rate': '16/1',
                'nb_frames': '81', 'color_space': 'bt709', 'color_primaries': 'bt709',
                'color_transfer': 'bt709', 'color_range': 'tv', 'pix_fmt': 'yuv420p',
                'chroma_location': 'center', 'start_time': '0.000000'}
    for field, value in expected.items():
        equal(info.get(field), value, field)
    equal(info['tags'].get('title'), 'a title', 'title')
    equal(info['tags'].get('comment'), 'seed=7', 'comment')
    check(info['tags'].get('encoder', '').startswith('unreel '), 'encoder tag')
    data = open(path('a.mp4'), 'rb').read()
    check('a prompt; 50% ä'.encode() in data, 'the prompt is in the file')
    equal(pictures('a.mp4'), 81, 'pictures decoded')
    check(b'moof' not in data[:4096] and data[4:8] == b'ftyp', 'an ordinary MP4 when complete')


def test_mp4_pictures_in_order():
    """The number in the corner of every decoded picture."""
    write('a.mp4', 'pictures=40', 'size=64x64')
    raw = run('ffmpeg', '-v', 'error', '-i', path('a.mp4'), '-f', 'rawvideo', '-pix_fmt', 'yuv420p',
              '-', binary=True).stdout
    size = 64 * 64 * 3 // 2
    seen = [raw[i * size + 8 * 64 + 8] - 16 for i in range(len(raw) // size)]
    equal(len(seen), 40, 'pictures')
    check(all(abs(n - i) <= 3 for i, n in enumerate(seen)), f'numbers {seen}')


def test_other_rates():
    for fps, rate in (('24', '24/1'), ('29.97', '30000/1001'), ('12.5', '25/2')):
        write('r.mp4', 'pictures=20', f'fps={fps}')
        equal(probe('r.mp4').get('r_frame_rate'), rate, f'rate of {fps}')


def test_kill():
    for at in (30, 100, 250) if not LONG else range(12, 300, 12):
        remove('k.mp4')
        result = write('k.mp4', 'pictures=400', f'kill_at={at}')
        equal(result.returncode, -9, 'killed')
        check(not exists('k.mp4') and exists('k.mp4.part'), 'only a .part')
        left = pictures('k.mp4.part')
        print(f'killed after {at + 1} pictures: {left} can be played')
        check(at + 1 - KILL_LOSS_MAX <= left <= at + 1, f'{left} of {at + 1} pictures left')
    remove('k.y4m')
    write('k.y4m', 'pictures=100', 'kill_at=49')
    equal(pictures('k.y4m.part'), 50, 'pictures of a killed Y4M')


def test_abort():
    for at in (0, 5, 40, 163):
        remove('k.mp4')
        write('k.mp4', 'pictures=300', f'abort_at={at}')
        check(not exists('k.mp4'), 'not renamed')
        equal(pictures('k.mp4.part'), at + 1, 'every picture is there after an abort')
    remove('k.mp4')
    write('k.mp4', 'pictures=0', 'abort_at=0')
    check(not exists('k.mp4.part'), 'a file without pictures is removed')


def test_full_disk():
    """A limit on the size of files stands for the full disk; both are errors of write()."""
    write('whole.mp4', 'pictures=300')
    whole = os.path.getsize(path('whole.mp4')) // 1024
    # The last few: the limit is hit while the index is written, when all pictures are there.
    limits = [whole // 4, whole // 2, whole - 30, whole - 6, whole - 3, whole - 1]
    for limit in limits:
        remove('k.mp4')
        result = run('bash', '-c', f'ulimit -f {limit}; exec "$0" "$@"', WRITE_VIDEO,
                     f'path={path("k.mp4")}', 'pictures=300')
        equal(result.returncode, 1, f'exit code at {limit} KiB')
        lines = [line for line in result.stderr.splitlines() if line.startswith('unreel:')]
        equal(len(lines), 1, f'one line: {lines}')
        check(lines and 'k.mp4.part: File too large' in lines[0], f'names file and reason: {lines}')
        check(not exists('k.mp4'), 'not renamed')
        left = pictures('k.mp4.part')
        print(f'no space after {limit} of {whole} KiB: {left} of 300 pictures can be played')
        check(left > 300 * limit / whole * 0.8 - 20, f'{left} pictures at {limit} of {whole} KiB')
    remove('k.y4m')
    result = run('bash', '-c', 'ulimit -f 500; exec "$0" "$@"', WRITE_VIDEO,
                 f'path={path("k.y4m")}', 'pictures=300')
    equal(result.returncode, 1, 'exit code')
    size = 256 * 128 * 3 // 2 + 6
    bytes_left = os.path.getsize(path('k.y4m.part'))
    equal((bytes_left - bytes_left % size) // size, pictures('k.y4m.part'), 'whole pictures')


def test_two_runs():
    """A file that somebody writes is left alone; one that a dead run left is not."""
    for name in ('two.mp4', 'two.y4m'):
        with open(path(name + '.part'), 'wb') as other:
            other.write(b'begun')
            other.flush()
            fcntl.flock(other, fcntl.LOCK_EX)
            result = write(name, 'pictures=3')
            equal(result.returncode, 1, f'{name} while another writes it')
            check(result.stderr.count('\n') == 1 and f'{name}.part: another run is writing it' in result.stderr,
                  result.stderr)
        with open(path(name + '.part'), 'rb') as other:
            equal(other.read(), b'begun', 'what the other has written')
        equal(write(name, 'pictures=3').returncode, 0, 'after its end')
        equal(pictures(name), 3, 'pictures')


def test_no_encoder():
    """What cannot be begun leaves nothing, and nothing is lost."""
    environment = clean_environment(GST_REGISTRY=path('registry.bin'), GST_PLUGIN_SYSTEM_PATH=path('nowhere'))
    equal(write('none.mp4', 'pictures=3', env=environment).returncode, 1, 'without an encoder')
    check(not exists('none.mp4.part'), 'no .part is left')
    with open(path('none.mp4.part'), 'wb') as earlier:
        earlier.write(b'what a killed run left')
    equal(write('none.mp4', 'pictures=3', env=environment).returncode, 1, 'without an encoder')
    check(exists('none.mp4.part'), 'an earlier .part is left')
    remove('none.mp4')


def test_tmpfs():
    """The same with a file system that is really full, where this may be mounted."""
    os.mkdir(path('small'))
    if run('mount', '-t', 'tmpfs', '-o', 'size=200k', 'none', path('small')).returncode:
        return
    try:
        result = write('small/k.mp4', 'pictures=600', 'size=832x480')
        equal(result.returncode, 1, 'exit code')
        check(re.search(r'k\.mp4\.part: [Nn]o space left', result.stderr), result.stderr)
        check(pictures('small/k.mp4.part') > 5, 'playable')
    finally:
        run('umount', path('small'))


need('ffmpeg', 'ffprobe')
each(test_y4m, test_y4m_broken_pipe, test_mp4, test_mp4_pictures_in_order, test_other_rates, test_kill,
     test_abort, test_full_disk, test_two_runs, test_no_encoder, test_tmpfs)
end()
