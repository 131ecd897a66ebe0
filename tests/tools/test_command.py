"""`unreel generate` and its neighbours, with the smallest of the recorded models."""
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time

from harness import (SOURCE, UNREEL, check, clean_environment, each, end, equal, errors, folder, path,
                     pictures, probe, run, skip, unreel)

NANO = os.path.join(SOURCE, 'tests/golden/nano')
HAVE_MP4 = '--no-mp4' not in sys.argv

# 3 latent frames of 48x32: 9 pictures in a moment.
SMALL = ('--size', '64x48', '--num-output-frames', '3')


def generate(*args, **more):
    return unreel('generate', *SMALL, *args, **more)


def exists(name):
    return os.path.exists(path(name))


def write(name, text):
    os.makedirs(os.path.dirname(path(name)), exist_ok=True)
    with open(path(name), 'wb') as file:
        file.write(text if isinstance(text, bytes) else text.encode())
    return path(name)


def fails(result, code, *words):
    """One line that names the thing, the right exit code, nothing half-written."""
    lines = errors(result)
    equal(result.returncode, code, f'exit code of {result.args[1:]} ({result.stderr!r})')
    equal(len(lines), 1, f'lines printed by {result.args[1:]}: {result.stderr!r}')
    for word in words:
        check(word in result.stderr, f'{result.args[1:]}: {word!r} not in {result.stderr!r}')
    left = [name for _, _, names in os.walk(folder) for name in names if name.endswith('.part')]
    check(not left, f'{result.args[1:]} left {left}')


def test_help():
    overview = unreel('help')
    equal(overview.returncode, 0, 'help')
    equal(unreel().stdout, overview.stdout, 'no command shows the overview')
    equal(unreel('--help').stdout, overview.stdout, '--help')
    text = ''.join(unreel('help', command).stdout for command in ('generate', 'live', 'bench'))
    table = open(os.path.join(SOURCE, 'src/config/table.c'), encoding='utf-8').read()
    names = re.findall(r'^    \{\{"([\w.]+)", \w+,', table, re.M)
    check(len(names) > 40, f'{len(names)} options in the table')
    for name in names:
        check('  --' + name.replace('_', '-') in text, f'{name} in the help')
    check(max(map(len, text.splitlines())) <= 100, 'wrapped')
    check(not re.search(r' $', text, re.M), 'no space at the end of a line')
    check(re.fullmatch(r'unreel \d+\.\d+\.\d+\n', unreel('--version').stdout), '--version')
    for command in ('generate', 'live', 'inspect', 'check', 'bench', 'make-model'):
        equal(unreel('help', command).stdout, unreel(command, '-h').stdout, f'help {command}')


def test_usage_errors():
    fails(unreel('frobnicate'), 2, 'frobnicate')
    fails(unreel('help', 'frobnicate'), 2, 'frobnicate')
    fails(unreel('generate', '--prmpt', 'x'), 2, 'prmpt', 'did you mean', 'prompt')
    fails(unreel('generate', '--prompt'), 2, '--prompt needs a value')
    fails(unreel('generate', '--seed', 'x'), 2, 'seed')
    fails(unreel('generate', '--size', '100x100', '--prompt', 'x'), 2, 'size', '16')
    fails(unreel('generate', '--set', 'nothing=1'), 2, 'nothing')
    fails(unreel('generate', 'a prompt'), 2, '--prompt')
    fails(unreel('generate', '-o', 'x.y4m'), 2, '--prompt')
    fails(generate('--prompt', 'x'), 2, '--output')
    fails(generate('--prompt', 'x', '-o', 'x.avi'), 2, 'x.avi', '.mp4')
    fails(generate('--prompt', 'x', '-o', 'x.y4m', '--output-folder', 'f'), 2, '--output-folder')
    fails(generate('--prompt', 'x', '-o', 'x.y4m', '--num-samples', '2'), 2, '--output-folder')
    fails(unreel('inspect'), 2, 'usage: unreel inspect')
    fails(unreel('check'), 2, 'usage: unreel check')
    fails(unreel('make-model', 'x'), 2, 'usage: unreel make-model')


def test_options_of_others():
    """What a command would not read is refused, with the name of the command that does."""
    fails(generate('--prompt', 'x', '--webrtc', '80'), 2, '--webrtc', 'unreel live')
    fails(generate('--prompt', 'x', '--no-eager'), 2, '--eager', 'unreel live')
    fails(generate('--prompt', 'x', '--bench_chunks=3'), 2, '--bench-chunks', 'unreel bench')
    fails(unreel('live', '--prompt', 'x', '--record', 'x.mp4', '--num-samples', '2'), 2, '--num-samples',
          'unreel generate')
    fails(unreel('inspect', '--threads', '2', 'x'), 2, '--threads', 'unreel generate')
    fails(unreel('make-model', '--prompt', 'x', 'nano', 'y'), 2, '--prompt')
    fails(unreel('live', '--sampling-steps', '2', '--prompt', 'x'), 2, 'where should the video go')
    equal(unreel('generate', '--webrtc', '80', '--help').returncode, 0, 'help all the same')
    fails(unreel('inspect', '-q', 'nothing'), 1, 'nothing')


def test_bad_inputs():
    os.mkdir(path('d.y4m'))
    write('notfolder', 'x')
    fails(generate('--prompt', 'x', '-o', 'd.y4m'), 2, 'd.y4m', 'folder')
    fails(generate('--prompt', 'x', '-o', 'nowhere/x.y4m'), 1, 'nowhere')
    fails(generate('--prompt', 'x', '-o', 'notfolder/x.y4m'), 1, 'notfolder: not a folder')
    fails(generate('--prompt', 'x', '-o', 'x.y4m', '--save-latents', 'nowhere/l.safetensors', '--quiet'), 1,
          'nowhere/l.safetensors')
    fails(generate('--prompt', 'x', '--output-folder', 'notfolder'), 1, 'notfolder')
    fails(generate('--prompt', 'x', '--output-folder', '/proc/x'), 1, '/proc/x')
    fails(generate('--prompt', 'x', '-o', 'x.y4m', '--model', 'nomodel'), 1, 'nomodel')
    fails(generate('--prompt', 'x', '-o', 'x.y4m', '--config-path', 'no.yaml'), 1, 'no.yaml')
    write('bad.yaml', 'num_frame_per_block: many\n')
    fails(generate('--prompt', 'x', '-o', 'x.y4m', '--config-path', 'bad.yaml'), 1, 'bad.yaml',
          'num_frame_per_block')
    fails(generate('--prompt', 'x', '-o', 'x.y4m', '--checkpoint-path', 'no.pt'), 1, 'no.pt')
    fails(generate('--prompt', 'x', '-o', 'x.y4m', '--checkpoint-path', 'bad.yaml'), 1, 'bad.yaml')
    fails(generate('--prompt', 'x', '-o', 'x.y4m', '--num-output-frames', '4'), 1, '3', '6')
    fails(generate('--data-path', 'no.txt', '--output-folder', 'f'), 1, 'no.txt')
    write('empty.txt', '')
    fails(generate('--data-path', 'empty.txt', '--output-folder', 'f'), 1, 'empty.txt')
    write('latin.txt', b'caf\xe9\n')
    fails(generate('--data-path', 'latin.txt', '--output-folder', 'f'), 1, 'latin.txt', 'UTF-8')
    write('two.txt', 'one\ntwo\n')
    write('three.txt', 'one\ntwo\nthree\n')
    fails(generate('--data-path', 'two.txt', '--extended-prompt-path', 'three.txt',
                   '--output-folder', 'f'), 1, 'three.txt')
    os.mkdir(path('i2v'))
    fails(generate('--i2v', '--data-path', 'i2v', '--output-folder', 'f'), 1, 'i2v')
    if os.path.exists('/dev/full'):
        result = generate('--prompt', 'x', '-o', '/dev/full', '--quiet')
        equal(result.returncode, 2, 'a device has no kind by its name')
        os.symlink('/dev/full', path('full.y4m'))
        fails(generate('--prompt', 'x', '-o', 'full.y4m', '--quiet'), 1, 'No space left')


def test_streams():
    """Standard streams that are closed, full, or a screen."""
    result = run('bash', '-c', 'exec "$0" "$@" <&- >&- 2>&-', UNREEL, 'generate', *SMALL, '--prompt', 'x',
                 '-o', path('closed.y4m'))
    equal(result.returncode, 0, 'all closed')
    with open(path('closed.y4m'), 'rb') as file:
        data = file.read()
    check(data.startswith(b'YUV4MPEG2') and b'unreel' not in data, f'{data[:60]}')
    if os.path.exists('/dev/full'):
        with open('/dev/full', 'w', encoding='utf-8') as full:
            code = subprocess.run([UNREEL, 'help', 'generate'], stdout=full, stderr=subprocess.DEVNULL,
                                  check=False).returncode
        equal(code, 1, 'help into a full device')
    screen, terminal = pty.openpty()
    result = subprocess.run([UNREEL, 'generate', *SMALL, '--prompt', 'x', '-o', '-'], stdout=terminal,
                            stderr=subprocess.PIPE, text=True, check=False)
    check(result.returncode and 'stdout: is a terminal' in result.stderr, f'{result}')
    os.close(terminal)
    os.close(screen)


def test_make_model():
    equal(unreel('make-model', 'tiny', 'made').returncode, 0, 'made')
    before = os.stat(path('made/config.json')).st_mtime_ns
    fails(unreel('make-model', 'tiny', 'made'), 1, 'made/config.json', 'already')
    equal(os.stat(path('made/config.json')).st_mtime_ns, before, 'left as it was')


def changed(name, change):
    """The bundled model, its VAE's tensors {name: (type, shape, bytes)} changed by change()."""
    bundled = os.path.join(SOURCE, 'models/postcard')
    os.mkdir(path(name))
    for entry in os.listdir(bundled):
        os.symlink(os.path.join(bundled, entry), path(f'{name}/{entry}'))
    with open(os.path.join(bundled, 'Wan2.1_VAE.safetensors'), 'rb') as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), 'little')))
        data = file.read()
    tensors = {key: (t['dtype'], t['shape'], data[slice(*t['data_offsets'])])
               for key, t in header.items() if key != '__metadata__'}
    change(tensors)
    header, data = {}, b''
    for key, (kind, shape, part) in tensors.items():
        header[key] = {'dtype': kind, 'shape': shape, 'data_offsets': [len(data), len(data) + len(part)]}
        data += part
    text = json.dumps(header).encode()
    os.remove(path(f'{name}/Wan2.1_VAE.safetensors'))
    write(f'{name}/Wan2.1_VAE.safetensors', len(text).to_bytes(8, 'little') + text + data)
    return name


def test_another_vae():
    def short_bias(tensors):
        tensors['decoder.conv1.bias'] = ('BF16', [1], b'\0\0')

    def long_bias(tensors):
        kind, shape, data = tensors['encoder.downsamples.0.residual.2.bias']
        tensors['encoder.downsamples.0.residual.2.bias'] = (kind, [2 * shape[0]], 2 * data)

    def no_time(tensors):
        for part in ('weight', 'bias'):
            del tensors[f'encoder.downsamples.5.time_conv.{part}']

    for change, words in ((short_bias, ('decoder.conv1.bias', '[1]')),
                          (long_bias, ('encoder.downsamples.0.residual.2.bias',)),
                          (no_time, ('encoder.downsamples resample 3 times, 1 of them in time',))):
        model = changed(change.__name__, change)
        fails(generate('--prompt', 'x', '-o', 'x.y4m', '--model', model), 1, 'Wan2.1_VAE.safetensors', *words)
    same = generate('--prompt', 'x', '-o', 'same.y4m', '--model', changed('unchanged', lambda tensors: None))
    equal(same.returncode, 0, f'the VAE written anew ({same.stderr})')


def test_default_model_says_what_it_is():
    result = unreel('generate', '--prompt', 'a red balloon', '-o', 'bundled.y4m', '--num-output-frames', '3',
                    env=clean_environment(UNREEL_MODEL=''))
    equal(result.returncode, 0, f'exit code ({result.stderr})')
    check(open(path('bundled.y4m'), 'rb').readline().startswith(b'YUV4MPEG2 W160 H96 '), 'the bundled model')
    result = generate('--prompt', 'a fox', '-o', 'a.y4m')
    equal(result.returncode, 0, f'exit code ({result.stderr})')
    check(exists('a.y4m') and not exists('a.y4m.part'), 'renamed')
    equal(os.path.getsize(path('a.y4m')) % (64 * 48 * 3 // 2 + 6) > 0, True, 'a header')
    equal(open(path('a.y4m'), 'rb').read().count(b'FRAME\n'), 9, 'pictures')


def test_same_seed_same_video():
    def video(*args):
        return generate('--prompt', 'a fox', '-o', '-', *args, binary=True).stdout

    first = video()
    equal(len(first) > 9 * 64 * 48, True, 'pictures on stdout')
    check(first == open(path('a.y4m'), 'rb').read(), 'stdout and file have the same bytes')
    check(video('--threads', '1') == first, 'the same with another number of threads')
    check(video('--seed', '1') != first, 'another seed, another video')
    check(video('--json', '--verbose') == first, 'nothing else goes to stdout')


def test_skip_and_overwrite():
    before = os.stat(path('a.y4m')).st_mtime_ns
    result = generate('--prompt', 'a fox', '-o', 'a.y4m')
    equal(result.returncode, 0, 'exit code')
    check('already there' in result.stderr, result.stderr)
    equal(os.stat(path('a.y4m')).st_mtime_ns, before, 'not touched')
    result = generate('--prompt', 'a fox', '-o', 'a.y4m', '--overwrite', '--quiet')
    check(os.stat(path('a.y4m')).st_mtime_ns != before, 'made again')
    equal(errors(result), [], '--quiet is quiet')


def test_mp4_tags():
    result = generate('--prompt', 'a fox; "ä"', '-o', 'a.mp4', '--seed', '11', '--fps', '24', '--set',
                      'web_token=sesame-0123')
    equal(result.returncode, 0, f'exit code ({result.stderr})')
    info = probe('a.mp4')
    for field, value in {'nb_frames': '9', 'width': 64, 'height': 48, 'r_frame_rate': '24/1'}.items():
        equal(info.get(field), value, field)
    equal(info['tags'].get('title'), 'a fox; "ä"', 'title')
    comment = info['tags'].get('comment', '')
    for part in ('prompt=a fox; "ä"', 'seed=11', 'model=', 'size=64x48', 'denoising_step_list='):
        check(part in comment, f'{part} in the comment: {comment}')
    check('sesame' not in comment, f'no secrets in the comment: {comment}')
    check(NANO not in comment and folder not in comment, f'no paths in the comment: {comment}')
    equal(pictures('a.mp4'), 9, 'pictures')


def test_batch():
    write('prompts.txt', '\ufeffa fox\r\na/b\n' + 'long ' * 60 + '\na fox\n')
    args = ('--data-path', 'prompts.txt', '--output-folder', 'sub/videos', '--num-samples', '2')
    result = generate(*args, '--json')
    equal(result.returncode, 0, f'exit code ({result.stderr})')
    made = sorted(os.listdir(path('sub/videos')))
    equal(len(made), 8, f'files {made}')
    check(all(len(name.encode()) <= 255 for name in made), 'names fit')
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    equal(len(lines), 8, 'lines of JSON')
    equal({line['status'] for line in lines}, {'complete'}, 'status')
    equal({line['pictures'] for line in lines}, {9}, 'pictures')
    equal(sorted((line['prompt_index'], line['sample']) for line in lines),
          [(i, s) for i in range(4) for s in range(2)], 'all are made')
    for name in ('seconds_total', 'seconds_denoise', 'seconds_decode', 'chunk_p50', 'chunk_p99',
                 'bytes_weights', 'fps', 'width', 'seed', 'file', 'prompt'):
        check(name in lines[0], f'{name} in the statistics')
    check('8 of 8 videos' in result.stderr, f'progress over the batch: {result.stderr}')
    os.unlink(path('sub/videos/' + made[3]))
    result = generate(*args)
    check('7 videos are already there' in result.stderr, result.stderr)
    equal(sorted(os.listdir(path('sub/videos'))), made, 'the missing one is made again')

    result = generate('--data-path', 'prompts.txt', '--output-folder', 'indexed', '--save-with-index',
                      '--use-ema')
    names = sorted(os.listdir(path('indexed')))
    equal([name.split('.')[0] for name in names], [f'{i}-0_ema' for i in range(4)], 'by index')


def test_extended_prompts():
    write('short.txt', 'fox\nboat\n')
    write('long.txt', 'a red fox in deep snow\na boat on a calm sea\n')
    result = generate('--data-path', 'short.txt', '--extended-prompt-path', 'long.txt',
                      '--output-folder', 'extended', '--json')
    equal(sorted(name.split('-')[0] for name in os.listdir(path('extended'))), ['boat', 'fox'],
          'the short prompt names the file')
    equal([json.loads(line)['prompt'] for line in result.stdout.splitlines()],
          ['a red fox in deep snow', 'a boat on a calm sea'], 'the long one is generated')


def test_ranks():
    write('five.txt', ''.join(f'prompt {i}\n' for i in range(5)))
    args = ('--data-path', 'five.txt', '--output-folder')
    alone = generate(*args, 'alone')
    equal(alone.returncode, 0, alone.stderr)
    videos = sorted(os.listdir(path('alone')))
    equal(len(videos), 5, 'videos')
    launchers = (('RANK', 'WORLD_SIZE', 'LOCAL_RANK'),
                 ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_RANK'),
                 ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'))
    for number, names in enumerate(launchers):
        seen = []
        for rank in range(3):
            env = clean_environment(**dict(zip(names, (str(rank), '3', str(rank)))))
            result = generate(*args, f'by{number}', '--json', env=env)
            seen += [json.loads(line)['prompt_index'] for line in result.stdout.splitlines()]
            shown = errors(result)
            check(bool(shown) == (rank == 0), f'only rank 0 shows progress: {rank} {shown}')
        equal(sorted(seen), list(range(5)), f'{names[0]}: each prompt once')
        equal(sorted(os.listdir(path(f'by{number}'))), videos, 'the same names')
    fails(generate(*args, 'wrong', env=clean_environment(RANK='3', WORLD_SIZE='3')), 1, 'RANK')
    fails(generate(*args, 'wrong', env=clean_environment(RANK='x', WORLD_SIZE='3')), 1, 'RANK')


def test_mpirun():
    if not shutil.which('mpirun'):
        print('mpirun is not installed: not tried')
        return
    write('five.txt', ''.join(f'prompt {i}\n' for i in range(5)))
    result = run('mpirun', '--allow-run-as-root', '--oversubscribe', '-n', '2', UNREEL, 'generate',
                 *SMALL, '--data-path', 'five.txt', '--output-folder', 'mpi', '--json')
    equal(result.returncode, 0, f'mpirun: {result.stderr}')
    lines = [json.loads(line) for line in result.stdout.splitlines() if line.startswith('{')]
    equal(sorted(line['prompt_index'] for line in lines), list(range(5)), 'each prompt once')
    equal(sorted(os.listdir(path('mpi'))), sorted(os.listdir(path('alone'))), 'the same names')
    for name in os.listdir(path('mpi')):
        equal(frames(f'mpi/{name}'), frames(f'alone/{name}'), f'{name}: the same pictures')


def frames(name):
    return run('ffmpeg', '-v', 'error', '-i', path(name), '-f', 'framemd5', '-').stdout


def test_images():
    for name, codec in (('red.png', 'png'), ('red.jpg', 'mjpeg'), ('red.webp', 'libwebp')):
        run('ffmpeg', '-v', 'error', '-f', 'lavfi', '-i', 'color=c=red:s=100x80', '-frames:v', '1',
            '-c:v', codec, path(name))
        if not exists(name):
            print(f'ffmpeg does not write {name}: not tried')
            continue
        result = generate('--prompt', 'x', '--image', name, '-o', name + '.y4m',
                          '--num-output-frames', '4')
        equal(result.returncode, 0, f'{name}: {result.stderr}')
        data = open(path(name + '.y4m'), 'rb').read()
        equal(data.count(b'FRAME\n'), 13, f'{name}: pictures')
    result = unreel('generate', '--size', '64x48', '--prompt', 'x', '--image', 'red.png', '-o', 'long.y4m')
    equal(result.returncode, 0, f'a length that fits by itself: {result.stderr}')
    equal(open(path('long.y4m'), 'rb').read().count(b'FRAME\n'), 1 + 4 * 21, 'pictures')
    fails(generate('--prompt', 'x', '--image', 'red.png', '-o', 'x.y4m'), 1, '4 would')
    fails(generate('--prompt', 'x', '--image', 'none.png', '-o', 'x.y4m'), 1, 'none.png')
    write('text.png', 'this is no picture')
    fails(generate('--prompt', 'x', '--image', 'text.png', '-o', 'x.y4m'), 1, 'text.png')
    write('zero.png', '')
    fails(generate('--prompt', 'x', '--image', 'zero.png', '-o', 'x.y4m'), 1, 'zero.png', 'empty')
    cut = open(path('red.png'), 'rb').read()[:60]
    write('cut.png', cut)
    fails(generate('--prompt', 'x', '--image', 'cut.png', '-o', 'x.y4m'), 1, 'cut.png')

    os.makedirs(path('folder/26-15'))
    shutil.copy(path('red.png'), path('folder/26-15/one.png'))
    item = {'file_name': 'one.png', 'caption': 'a red wall', 'type': 'image', 'origin_width': 100,
            'origin_height': 80, 'target_crop': {'target_bbox': [0, 0, 100, 80], 'target_ratio': '26-15'}}
    write('folder/target_crop_info_26-15.json', json.dumps([item]))
    result = generate('--i2v', '--data-path', 'folder', '--output-folder', 'i2v-out',
                      '--num-output-frames', '4')
    equal(result.returncode, 0, f'folder of images: {result.stderr}')
    equal(len(os.listdir(path('i2v-out'))), 1, 'one video')


ENOUGH = 200000  # bytes of noise: more than a second


def start(*args):
    for name in ('s.mp4', 's.mp4.part'):
        if exists(name):
            os.unlink(path(name))
    process = subprocess.Popen([UNREEL, 'generate', '--prompt', 'x', '--size', '256x128',
                                '--num-output-frames', '600', '--overwrite', *args],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, cwd=folder, env=clean_environment())
    return process


def wait_for_bytes(process, name, size):
    for _ in range(1200):
        if process.poll() is not None or (exists(name) and os.path.getsize(path(name)) >= size):
            return
        time.sleep(0.05)


def test_signals():
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        process = start('-o', 's.mp4')
        wait_for_bytes(process, 's.mp4.part', ENOUGH)
        process.send_signal(number)
        message = process.communicate(timeout=120)[1].decode()
        equal(process.returncode, code, f'exit code ({message})')
        check(not exists('s.mp4'), 'not renamed')
        left = re.search(r's\.mp4\.part holds the first (\d+) pictures', message)
        if check(left, f'says what is left: {message}'):
            equal(pictures('s.mp4.part'), int(left[1]), 'and it is there')
    process = start('-o', 's.mp4')
    wait_for_bytes(process, 's.mp4.part', ENOUGH)
    process.kill()
    process.communicate()
    left = pictures('s.mp4.part')
    check(left > 0, f'{left} pictures after SIGKILL')
    process = start('-o', 's.mp4')
    wait_for_bytes(process, 's.mp4.part', ENOUGH)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    equal(process.returncode, 130, 'twice')
    os.unlink(path('s.mp4.part'))

    process = start('-o', 'e.mp4', '--num-output-frames', '0')
    wait_for_bytes(process, 'e.mp4.part', ENOUGH)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    equal(process.returncode, 130, 'a video without end, stopped')
    check(exists('e.mp4') and not exists('e.mp4.part'), 'is complete when it is stopped')
    check(pictures('e.mp4') > 0, 'and playable')


def test_full_disk():
    result = run('bash', '-c', 'ulimit -f 400; exec "$0" "$@"', UNREEL, 'generate', '--prompt', 'x',
                 '--size', '256x128', '--num-output-frames', '300', '-o', 'f.mp4')
    equal(result.returncode, 1, f'exit code ({result.stderr})')
    check('f.mp4.part: File too large' in result.stderr, result.stderr)
    check(pictures('f.mp4.part') > 0, 'playable')
    os.unlink(path('f.mp4.part'))


def test_check_and_inspect():
    result = unreel('check', '--dtype', 'f32', NANO)
    equal(result.returncode, 0, f'check: {result.stdout[-300:]}{result.stderr}')
    last = result.stdout.splitlines()[-1]
    check(re.fullmatch(r'[1-9]\d* passed, 0 failed', last), last)
    check('not recorded' not in result.stdout, 'all of it is compared')
    shutil.copytree(NANO, path('less'))
    os.unlink(path('less/expected/scheduler.safetensors'))
    less = unreel('check', '--dtype', 'f32', path('less'))
    equal(less.returncode, 0, f'check of a part: {less.stdout[-300:]}{less.stderr}')
    check(re.search('^scheduler.safetensors +not recorded$', less.stdout, re.M), 'which part is missing')
    check(int(less.stdout.splitlines()[-1].split()[0]) < int(last.split()[0]), 'and it is not counted')
    with open(path('less/expected/vae.safetensors'), 'r+b') as file:
        file.truncate(1000)
    less = unreel('check', '--dtype', 'f32', path('less'))
    equal(less.returncode, 1, 'a damaged record')
    check('vae.safetensors' in less.stderr, less.stderr)
    equal(unreel('check', folder + '/sub').returncode, 1, 'nothing to compare')
    fails(unreel('check', '--device', 'cpu', '--dtype', 'fp8', NANO), 1, 'dtype fp8: needs an NVIDIA GPU')
    model = os.path.join(NANO, 'wan_models/Wan2.1-T2V-nano/diffusion_pytorch_model.safetensors')
    result = unreel('inspect', model)
    equal(result.returncode, 0, f'inspect: {result.stderr}')
    check('patch_embedding.weight' in result.stdout, 'lists tensors')
    fails(unreel('inspect', 'nothing.pt'), 1, 'nothing.pt')
    fails(unreel('inspect', write('bad.pt', 'PK nothing')), 1, 'bad.pt')


def test_bench():
    run = ['bench', '--device', 'cpu', '--shape', 'tiny', '--size', '64x64', '--bench-chunks', '3',
           '--bench-window', '6', '--bench-stages', 'stream']
    result = unreel(*run, '--json')
    equal(result.returncode, 0, f'bench: {result.stderr}')
    stream = json.loads(result.stdout)['stream']
    part = {each['name']: each for each in stream['parts']}
    equal((stream['chunks'], stream['pictures'], stream['steps'], len(part)), (3, 12, 4, 6), 'a stream')
    for name, each in part.items():
        check(0 < each['p50'] <= each['p99'] and each['mean'] <= each['p99'], f'{name}: {each}')
    for decoder, names in (('none', ()), ('vae', ('vae decode', 'vae pictures')),
                           ('light', ('light decode', 'light pictures'))):
        seconds = sum(part[name]['mean'] for name in ('denoise', 'cache forward') + names)
        rate = stream['pictures_per_second'][decoder]
        check(abs(rate * seconds / 12 - 1) < 1e-3, f'{decoder}: {rate} pictures/s, {seconds} s a chunk')
    # 2 chunks fill the window, 2 warm up, 3 are measured, 1 is counted, 6 wait for a first picture; the
    # keys of a chunk are written when another follows
    equal(stream['forwards'], 4 * 14 + 7, 'forwards')
    check(min(stream['first_picture'].values()) > 0 and min(stream['flops'].values()) > 0, f'{stream}')
    fails(unreel(*run[:-1], 'vae,streams'), 1, 'bench_stages vae,streams')
    table = unreel(*run).stdout
    for words in ('sustained pictures/s', 'first picture', 'of peak', 'memory: caches'):
        check(words in table, f'{words} not in {table}')


if not os.path.isdir(NANO):
    skip('tests/golden/nano is not there')
each(test_help, test_usage_errors, test_options_of_others, test_bad_inputs, test_streams, test_make_model, test_another_vae, test_default_model_says_what_it_is,
     test_same_seed_same_video, test_skip_and_overwrite, test_check_and_inspect,
     test_bench)
if HAVE_MP4 and shutil.which('ffmpeg'):
    each(test_mp4_tags, test_batch, test_extended_prompts, test_ranks, test_mpirun, test_images,
         test_signals, test_full_disk)
else:
    if not HAVE_MP4:
        fails(generate('--prompt', 'x', '-o', 'x.mp4'), 1, 'x.mp4', 'GStreamer', '.y4m')
        fails(generate('--prompt', 'x', '--image', path('a.y4m'), '-o', 'x.y4m'), 1, 'GStreamer')
    print('without GStreamer or ffmpeg: MP4 and pictures not tried')
end()
