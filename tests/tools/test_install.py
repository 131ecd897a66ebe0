"""meson install, pkg-config, and a program built against what was installed."""
import glob
import os
import shlex

from harness import SOURCE, check, clean_environment, end, equal, need, path, run

NANO = os.path.join(SOURCE, 'tests/golden/nano')

need('meson', 'pkg-config', 'cc')
build = os.environ['BUILD']
result = run('meson', 'install', '-C', build, '--no-rebuild', '--destdir', path('root'))
equal(result.returncode, 0, f'meson install: {result.stdout[-500:]}{result.stderr[-500:]}')
root = path('root')


def find(pattern):
    found = glob.glob(os.path.join(root, '**', pattern), recursive=True)
    check(found, f'{pattern} is installed')
    return found[0] if found else ''


program = find('bin/unreel')
find('share/unreel/configs/default_config.yaml')
find('share/unreel/configs/postcard.yaml')
find('share/unreel/models/postcard/unreel.yaml')
for header in ('unreel.h', 'batch.h', 'diagnose.h'):
    find('include/unreel/' + header)
package = os.path.dirname(find('pkgconfig/unreel.pc'))
library = os.path.dirname(find('libunreel.so'))

env = clean_environment(PKG_CONFIG_PATH=package, PKG_CONFIG_SYSROOT_DIR=root, LD_LIBRARY_PATH=library)
flags = run('pkg-config', '--cflags', '--libs', 'unreel', env=env)
equal(flags.returncode, 0, f'pkg-config: {flags.stderr}')
result = run('cc', '-std=c11', '-Wall', '-Wextra', '-Wno-unused-parameter', '-Werror', '-o',
             path('embed'), os.path.join(SOURCE, 'tests/tools/embed.c'),
             *shlex.split(flags.stdout), env=env)
equal(result.returncode, 0, f'compiling the example: {result.stderr}')
result = run(path('embed'), path('nothing-there'), env=env)
equal(result.returncode, 1, 'exit code without a model')
check('nothing-there' in result.stderr, f'names the folder: {result.stderr}')
if os.path.isdir(NANO):
    model = os.path.join(NANO, 'wan_models/Wan2.1-T2V-nano')
    result = run(path('embed'), model, 'prompt=a fox', 'size=48x32', 'num_output_frames=3',
                 'num_frame_per_block=3', 'denoising_step_list=1000,500', env=env)
    equal(result.stdout.strip(), '9 pictures: end of video', f'the example ({result.stderr})')

result = run(program, '--version', env=env)
check(result.stdout.startswith('unreel '), f'the installed command: {result.stderr}')
# Its configurations are found beside it, in share/unreel.
result = run(program, 'generate', '--prompt', 'x', '--model', path('nothing-there'), '-o', 'x.y4m',
             '--config-path', 'self_forcing_dmd', env=env)
check('self_forcing_dmd' not in result.stderr and 'nothing-there' in result.stderr,
      f'a bundled configuration by name: {result.stderr}')
end()
