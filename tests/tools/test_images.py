"""Pictures that a video may start from: formats, upright, errors."""
import os
import struct

from harness import check, each, end, equal, need, path, run

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
CORNERS = [RED, GREEN, BLUE, WHITE]  # of the test picture, 60x40 in four quarters
SCENE = ('color=red:s=30x20[a];color=lime:s=30x20[b];color=blue:s=30x20[c];color=white:s=30x20[d];'
         '[a][b]hstack[e];[c][d]hstack[f];[e][f]vstack,format=rgb24')


def load(name):
    """Size and corners, or the error."""
    result = run(os.environ['LOAD_IMAGE'], path(name))
    lines = [tuple(map(int, line.split())) for line in result.stdout.splitlines()]
    return (lines[0], lines[1:]) if result.returncode == 0 and lines else result.stderr


def near(seen, expected, what, tolerance):
    good = len(seen) == len(expected) and all(abs(a - b) <= tolerance for x, y in zip(seen, expected)
                                              for a, b in zip(x, y))
    check(good, f'{what}: corners {seen} instead of {expected}')


def make(name, *options, scene=SCENE):
    run('ffmpeg', '-y', '-v', 'error', '-filter_complex', scene, '-frames:v', '1', *options, path(name))
    return os.path.exists(path(name))


def test_formats():
    for name, tolerance, options in (
            ('rgb.png', 0, ()), ('palette.png', 4, ('-pix_fmt', 'pal8')),
            ('alpha.png', 0, ('-pix_fmt', 'rgba')), ('gray.png', 255, ('-pix_fmt', 'gray16be')),
            ('full.jpg', 12, ('-pix_fmt', 'yuvj444p', '-q:v', '2')),
            ('half.jpg', 12, ('-pix_fmt', 'yuvj420p', '-q:v', '2')),
            ('lossless.webp', 1, ('-c:v', 'libwebp', '-lossless', '1'))):
        if not make(name, *options):
            print(f'ffmpeg does not write {name}: not tried')
            continue
        seen = load(name)
        if check(not isinstance(seen, str), f'{name}: {seen}'):
            equal(seen[0], (60, 40), f'{name}: size')
            near(seen[1], CORNERS, name, tolerance)


def test_odd_size():
    make('odd.png', scene='color=red:s=31x17,format=rgb24')
    equal(load('odd.png'), ((31, 17), [RED] * 4), 'rows that are padded')


def test_video():
    make('clip.mp4', '-pix_fmt', 'yuv420p', '-c:v', 'libx264')
    seen = load('clip.mp4')
    if check(not isinstance(seen, str), f'first picture of a video: {seen}'):
        near(seen[1], CORNERS, 'clip.mp4', 30)


def test_upright():
    """EXIF orientation, as telephones write it."""
    make('plain.jpg', '-pix_fmt', 'yuvj444p', '-q:v', '2')
    data = open(path('plain.jpg'), 'rb').read()
    turned = {3: [WHITE, BLUE, GREEN, RED], 6: [BLUE, RED, WHITE, GREEN], 8: [GREEN, WHITE, RED, BLUE]}
    for orientation, corners in turned.items():
        tiff = b'MM\0*\0\0\0\x08' + struct.pack('>HHHIHHI', 1, 0x112, 3, 1, orientation, 0, 0)
        app1 = b'Exif\0\0' + tiff
        with open(path('turned.jpg'), 'wb') as file:
            file.write(data[:2] + b'\xff\xe1' + struct.pack('>H', len(app1) + 2) + app1 + data[2:])
        seen = load('turned.jpg')
        if check(not isinstance(seen, str), f'orientation {orientation}: {seen}'):
            equal(seen[0], (60, 40) if orientation == 3 else (40, 60), f'orientation {orientation}')
            near(seen[1], corners, f'orientation {orientation}', 12)


def test_errors():
    make('good.png')
    good = open(path('good.png'), 'rb').read()
    for name, data in (('text.png', b'this is no picture'), ('zero.png', b''),
                       ('cut.png', good[:60]), ('head.png', good[:8])):
        with open(path(name), 'wb') as file:
            file.write(data)
    make('deep.png', '-pix_fmt', 'rgb48be')
    run('ffmpeg', '-y', '-v', 'error', '-f', 'lavfi', '-i', 'sine=duration=1', path('song.wav'))
    os.mkdir(path('folder.png'))
    for name in ('none.png', 'text.png', 'zero.png', 'cut.png', 'head.png', 'song.wav', 'deep.png', 'folder.png'):
        seen = load(name)
        check(isinstance(seen, str), f'{name}: an error, not {seen}')
        lines = str(seen).splitlines()
        check(len(lines) == 1 and lines[0].startswith('unreel: ') and name in lines[0],
              f'{name}: one line that names it: {seen}')


need('ffmpeg')
each(test_formats, test_odd_size, test_video, test_upright, test_errors)
end()
