"""The rules of the house: who includes whom, what the library exports and never calls, headers that
compile alone."""
import glob
import os
import re
import subprocess
import sys

from harness import SOURCE, check, each, end, equal, run

# Folders of src/ that a folder may include from, besides itself, base and the public headers.
# tools plugins -> public headers <- engine -> model -> backend <- cpu, cuda
ALLOWED = {
    'base': set(),
    'config': set(),
    'backend': set(),
    'cpu': {'backend'},
    'weights': {'backend'},
    'text': {'backend', 'weights'},
    'model': {'backend', 'weights'},
    'engine': {'backend', 'config', 'model', 'text', 'weights'},
    'diagnose': {'backend', 'config', 'engine', 'model', 'text', 'weights'},
}
INSIDE = set(ALLOWED)
LIBRARY = os.path.abspath(sys.argv[1])
# What a library must leave to the program: output, environment, the process.
NEVER = {'printf', 'puts', 'putchar', 'perror', 'stdout', 'stderr', 'getenv', 'secure_getenv', 'exit',
         '_exit', 'quick_exit', 'system', 'signal', 'sigaction'}


def sources(*folders):
    for folder in folders:
        for root, _, files in os.walk(os.path.join(SOURCE, folder)):
            for name in files:
                if name.endswith(('.c', '.h', '.cu', '.cuh', '.cc', '.cpp')):
                    yield os.path.join(root, name)


def includes(name):
    text = open(name, encoding='utf-8').read()
    return re.findall(r'^\s*#\s*include\s*[<"]([^">]+)[">]', text, re.M)


def test_includes():
    for name in sources('src'):
        short = os.path.relpath(name, SOURCE)
        folder = short.split('/')[1]
        if folder == 'include':
            for each in includes(name):
                check('/' not in each or each.startswith('unreel/'), f'{short} includes {each}')
            continue
        if not check(folder in ALLOWED, f'{short}: no rule for src/{folder}'):
            continue
        for each in includes(name):
            other = each.split('/')[0]
            good = other not in INSIDE or other in ALLOWED[folder] | {folder, 'base'}
            check(good, f'{short} includes {each}: src/{folder} must not know src/{other}')
    for name in sources('cuda'):
        for each in includes(name):
            other = each.split('/')[0]
            check(other not in INSIDE - {'backend', 'base'},
                  f'{os.path.relpath(name, SOURCE)} includes {each}: cuda knows only the backend')
    training = os.path.join(SOURCE, 'tools', 'train', '')  # looks inside: it trains what is inside
    for name in sources('tools', 'plugins'):
        if name.startswith(training):
            continue
        for each in includes(name):
            check(each.split('/')[0] not in INSIDE and not each.startswith('..'),
                  f'{os.path.relpath(name, SOURCE)} includes {each}: only public headers')


def test_model_names_no_backend():
    for name in sources('src/model', 'src/engine'):
        text = re.sub(r'/\*.*?\*/', '', open(name, encoding='utf-8').read(), flags=re.S)
        check(not re.search(r'\b(backend_cpu|backend_cuda|cpu_\w+\()', text),
              f'{os.path.relpath(name, SOURCE)} names a backend')


def test_exports():
    result = run('nm', '-D', '--defined-only', LIBRARY)
    names = [line.split()[-1].split('@')[0] for line in result.stdout.splitlines()]
    check(len(names) > 20, f'{len(names)} exported symbols')
    for name in names:
        check(name.startswith('unreel_'), f'the library exports {name}')
    result = run('nm', '-D', '--undefined-only', LIBRARY)
    used = {line.split()[-1].split('@')[0] for line in result.stdout.splitlines()}
    if any(name.startswith('__asan') for name in used):
        return
    for name in sorted(NEVER):
        check(name not in used, f'the library calls {name}')


def test_exported_are_documented():
    """Every function of the public headers is exported."""
    declared = set()
    for name in glob.glob(os.path.join(SOURCE, 'src/include/unreel/*.h')):
        text = re.sub(r'/\*.*?\*/', '', open(name, encoding='utf-8').read(), flags=re.S)
        declared |= set(re.findall(r'UNREEL_API[^;(]*?\b(unreel_\w+)\(', text))
    result = run('nm', '-D', '--defined-only', LIBRARY)
    defined = {line.split()[-1].split('@')[0] for line in result.stdout.splitlines()}
    for name in sorted(declared):
        check(name in defined, f'{name} is declared but not in the library')
    for name in sorted(defined):
        check(name in declared, f'{name} is exported but in no public header')


def test_headers():
    for name in sources('src', 'tools'):
        if not name.endswith('.h'):
            continue
        folders = ['-I', os.path.join(SOURCE, 'src'), '-I', os.path.join(SOURCE, 'src/include'), '-I',
                   os.path.join(SOURCE, 'tools')]
        flags = None
        if 'gst_common.h' in name or '/live/' in name:
            flags = run('pkg-config', '--cflags', 'gstreamer-video-1.0', 'gstreamer-app-1.0')
        if name.endswith(('/live/preview.h', '/live/text.h')):
            flags = run('pkg-config', '--cflags', 'gstreamer-video-1.0', 'sdl2')
        if '/web/' in name:
            flags = run('pkg-config', '--cflags', 'gstreamer-sdp-1.0', 'libsoup-3.0')
        if flags:
            if flags.returncode:
                continue
            folders += flags.stdout.split()
        result = run('cc', '-std=gnu11', '-D_GNU_SOURCE', '-fsyntax-only', '-Werror=implicit', '-x', 'c',
                     '-include', name, '/dev/null', *folders)
        equal(result.returncode, 0, f'{os.path.relpath(name, SOURCE)} alone: {result.stderr[:300]}')
    for name in glob.glob(os.path.join(SOURCE, 'src/include/unreel/*.h')):
        result = run('c++', '-fsyntax-only', '-Wall', '-Werror', '-x', 'c++', '-include', name,
                     '/dev/null', '-I', os.path.join(SOURCE, 'src/include'))
        equal(result.returncode, 0, f'{name} as C++: {result.stderr[:300]}')


each(test_includes, test_model_names_no_backend, test_exports, test_exported_are_documented, test_headers)
end()
