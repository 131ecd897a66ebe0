"""A video far past the 1024th latent frame in constant memory (a part of tools/test.sh --long)."""
import os
import subprocess
import time

from harness import SOURCE, UNREEL, check, clean_environment, end, equal, folder, path, skip

FRAMES = 5001
GROWTH_MAX = 2 << 20  # bytes between the 10th and the last part of the video


def anonymous_bytes(pid):
    with open(f'/proc/{pid}/status') as file:
        for line in file:
            if line.startswith('RssAnon:'):
                return int(line.split()[1]) << 10
    return 0


if not os.path.isdir(os.path.join(SOURCE, 'tests/golden/nano')):
    skip('tests/golden/nano is not there')
process = subprocess.Popen([UNREEL, 'generate', '--prompt', 'a fox', '--size', '32x32', '--quiet',
                            '--num-output-frames', str(FRAMES), '-o', 'soak.y4m'], cwd=folder,
                           env=clean_environment(), stdin=subprocess.DEVNULL)
picture = 32 * 32 * 3 // 2 + 6
whole = (1 + 4 * (FRAMES - 1)) * picture
samples = []
while process.poll() is None:
    try:
        done = os.path.getsize(path('soak.y4m.part')) / whole
        samples.append((done, anonymous_bytes(process.pid)))
    except (FileNotFoundError, ProcessLookupError):
        pass
    time.sleep(0.2)
equal(process.returncode, 0, 'exit code')
size = os.path.getsize(path('soak.y4m'))
equal((size - size % picture) // picture, 1 + 4 * (FRAMES - 1), 'pictures')
early = [held for done, held in samples if 0.1 <= done < 0.2]
late = [held for done, held in samples if done > 0.9]
if check(early and late, f'{len(samples)} samples'):
    print(f'{FRAMES} latent frames: {max(early) / 2**20:.1f} MiB early, {max(late) / 2**20:.1f} late')
    check(max(late) - max(early) < GROWTH_MAX, 'the memory stays the same')
end()
