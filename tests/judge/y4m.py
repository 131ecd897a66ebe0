"""YUV4MPEG2: pictures of a file or pipe as they come, and their colours.

8 bits, 4:2:0 or 4:4:4, BT.709 limited range (full range if the header says so)."""
import numpy as np


class Reader:
    """Iterates over (luma [h, w], u, v), uint8; .width, .height, .fps of the header."""

    def __init__(self, stream):
        self.stream = stream
        line = stream.readline(4096)
        if not line.startswith(b'YUV4MPEG2 '):
            raise ValueError('this is no YUV4MPEG2 video')
        fields = {f[:1]: f[1:] for f in line.decode('ascii', 'replace').split()[1:] if f[:1] != 'X'}
        self.width, self.height = int(fields['W']), int(fields['H'])
        num, den = fields.get('F', '16:1').split(':')
        self.fps = float(num) / float(den)
        kind = fields.get('C', '420jpeg')
        if kind not in ('420jpeg', '420mpeg2', '420paldv', '420', '444'):
            raise ValueError(f'YUV4MPEG2 of the kind {kind} is not supported')
        self.halved = kind != '444'
        self.full = b'XCOLORRANGE=FULL' in line

    def __iter__(self):
        h, w = self.height, self.width
        ch, cw = ((h + 1) // 2, (w + 1) // 2) if self.halved else (h, w)
        size = h * w + 2 * ch * cw
        while True:
            line = self.stream.readline(4096)
            if not line:
                return
            if not line.startswith(b'FRAME'):
                raise ValueError('a picture of the YUV4MPEG2 video does not begin with FRAME')
            data = self.stream.read(size)
            if len(data) < size:
                return  # cut off: the pictures before it count
            plane = np.frombuffer(data, np.uint8)
            yield (plane[:h * w].reshape(h, w), plane[h * w:h * w + ch * cw].reshape(ch, cw),
                   plane[h * w + ch * cw:].reshape(ch, cw))


def box(a, k):
    """Means of k x k pixels of [..., h, w]; what is left over at the right and below is dropped."""
    if k == 1:
        return a.astype(np.float32)
    h, w = a.shape[-2] // k, a.shape[-1] // k
    sum_ = sum(a[..., i:h * k:k, :w * k].astype(np.uint16) for i in range(k))
    return sum(sum_[..., i::k] for i in range(k)) / np.float32(k * k)


def colours(y, u, v, full=False):
    """RGB [..., 3] as float32, 0 to 1, of planes of one size."""
    if full:
        y, u, v = y / 255, (u - 128) / 255, (v - 128) / 255
    else:
        y, u, v = (y - 16) / 219, (u - 128) / 224, (v - 128) / 224
    r, b = y + 1.5748 * v, y + 1.8556 * u
    g = (y - 0.2126 * r - 0.0722 * b) / 0.7152
    return np.clip(np.stack([r, g, b], -1), 0, 1).astype(np.float32)


class Clip:
    """A short video: .luma [t, h, w] uint8 and .rgb [t, h', w', 3] float32 of about 48 rows."""

    def __init__(self, stream, limit=None):
        reader = Reader(stream)
        planes = []
        for picture in reader:
            planes.append(picture)
            if limit and len(planes) == limit:
                break
        if not planes:
            raise ValueError('the video has no picture')
        self.fps = reader.fps
        y, u, v = (np.stack([p[i] for p in planes]) for i in range(3))
        self.luma = y
        k = max(2, round(reader.height / 48 / 2) * 2)
        kc = k // 2 if reader.halved else k
        y, u, v = box(y, k), box(u, kc), box(v, kc)
        h, w = min(y.shape[1], u.shape[1]), min(y.shape[2], u.shape[2])
        self.rgb = colours(y[:, :h, :w], u[:, :h, :w], v[:, :h, :w], reader.full)

    def part(self, first, count):
        """Some of the pictures as a clip of its own (a view)."""
        clip = object.__new__(Clip)
        clip.fps, clip.luma, clip.rgb = self.fps, self.luma[first:first + count], self.rgb[first:first + count]
        return clip


def read(name):
    """The Clip of a file."""
    with open(name, 'rb') as stream:
        return Clip(stream)
