"""The thing that moves: which colour it has and where it is in each picture.

For each colour that a thing may have, every pixel gets a likeness to it. What is alike all the time
(green hills, blue sky, the sun) is taken away, per pixel and once more per pixel of the drifting
clouds, and what remains must hold together, stand out from what surrounds it, and cover more places
over time than it covers at once. The colour that does this best is the thing's.

Lengths are in picture heights, times in seconds."""
import numpy as np

# Paint of each colour as it is seen by day; night and evening light change it by LIGHT.
COLOURS = {
    'red': (0.92, 0.13, 0.13), 'orange': (1.00, 0.50, 0.05), 'yellow': (0.99, 0.85, 0.12),
    'green': (0.12, 0.72, 0.20), 'blue': (0.12, 0.30, 0.92), 'purple': (0.55, 0.16, 0.80),
    'pink': (0.99, 0.45, 0.72), 'white': (0.97, 0.97, 0.97),
}
LIGHT = {'dawn': (1.0, 0.96, 0.95), 'noon': (1, 1, 1), 'sunset': (0.98, 0.92, 0.88),
         'night': (0.83, 0.84, 0.91)}
SHADES = (0.84, 1.02)  # parts of a thing are darker than others
WHITE_SHADES = (0.92, 1.02)  # darker ones are pale skies, too
SIGMA = 0.11           # distance in RGB at which a colour is alike by 60 %


def likeness(rgb, paint, shades=SHADES):
    """How much pixels [..., 3] have a paint's colour, 0 to 1."""
    paint = np.asarray(paint, np.float32)
    shade = np.clip(rgb @ (paint / (paint @ paint)), *shades)
    distance = (rgb * rgb).sum(-1) - 2 * shade * (rgb @ paint) + shade * shade * (paint @ paint)
    return np.exp(distance * (-0.5 / SIGMA ** 2))


def blur(a, r):
    """Means over (2r + 1)^2 pixels of [t, h, w]; outside counts as the nearest pixel."""
    for axis in (1, 2):
        n = a.shape[axis]
        wide = [(0, 0)] * 3
        wide[axis] = (r + 1, r)
        s = np.cumsum(np.pad(a, wide, mode='edge'), axis, dtype=np.float32)
        ahead = [slice(None)] * 3
        behind = list(ahead)
        ahead[axis], behind[axis] = slice(2 * r + 1, 2 * r + 1 + n), slice(0, n)
        a = (s[tuple(ahead)] - s[tuple(behind)]) / (2 * r + 1)
    return a


def low(a, share):
    """A low quantile over time of [t, ...]."""
    k = int(share * (len(a) - 1))
    return np.partition(a, k, 0)[k]


def drifting(alike, speed, fps, rows):
    """What stays alike in pictures that move right by speed (heights/s), moved back: [t, rows, w]."""
    t, h, w = alike.shape
    step = np.rint(np.arange(t) * speed * h / fps).astype(int)
    span = w + step[-1]
    layer = np.full((t, rows, span), np.nan, np.float32)
    for i in range(t):
        at = step[-1] - step[i]
        layer[i, :, at:at + w] = alike[i, :rows]
    layer = np.sort(layer[::3], 0)  # what is not seen (NaN) last
    seen = (layer == layer).sum(0)
    stays = np.take_along_axis(layer, np.maximum(seen - 1, 0)[None] // 4, 0)[0]
    stays[seen == 0] = 0
    out = np.zeros_like(alike)
    for i in range(t):
        at = step[-1] - step[i]
        out[i, :rows] = stays[:, at:at + w]
    return out


def steady(a, k):
    """The middle one of each value of [t, ...] and those k pictures before and after."""
    before, after = np.concatenate([a[:k], a[:-k]]), np.concatenate([a[k:], a[-k:]])
    return np.maximum(np.minimum(a, before), np.minimum(np.maximum(a, before), after))


class Evidence:
    """For one colour: .mask [t, h, w], .score, and why."""

    def __init__(self, alike, floor):
        h = alike.shape[1]
        new = np.maximum(alike - floor, 0)
        dense = blur(new, max(1, round(0.04 * h)))
        self.mask = (dense > 0.3) & (new > 0.2)
        if self.mask.any():  # what only the thing's dark parts had passed before is less alike
            self.mask &= alike > 0.6 * np.quantile(alike[self.mask], 0.9)
        self.alike = alike
        area = self.mask.sum((1, 2)) / h ** 2
        self.area = area
        self.size = float(np.mean(np.sort(area)[len(area) // 2:]))
        here = blur(self.mask.astype(np.float32), round(0.06 * h)) > 0
        ring = here & ~(blur(self.mask.astype(np.float32), 1) > 0)
        inside = alike[self.mask].mean() if self.mask.any() else 0
        around = alike[ring].mean() if ring.any() else 0
        self.contrast = float(inside - around)
        ever = self.mask.mean(0) > 1.5 / len(alike)
        self.path = float(ever.sum() / h ** 2 / max(self.size, 1e-6))
        self.score = (min(self.size, 0.05) * max(self.contrast, 0) ** 2 *
                      np.clip((self.path - 1.1) / 0.4, 0, 1))


def find(clip, time, clouds=0.09):
    """Evidence for every colour, best first: [(name, Evidence)]."""
    rgb = clip.rgb
    light = np.asarray(LIGHT[time], np.float32)
    found = []
    for name, paint in COLOURS.items():
        alike = likeness(rgb, np.asarray(paint, np.float32) * light,
                         WHITE_SHADES if name == 'white' else SHADES)
        floor = np.broadcast_to(low(alike, 0.08), alike.shape)
        if name == 'white':  # so are clouds, and flakes, which are gone in the next picture but one
            floor = np.maximum(floor, drifting(alike, clouds, clip.fps, round(0.4 * alike.shape[1])))
            alike = steady(alike, max(1, round(0.125 * clip.fps)))
        found.append((name, Evidence(alike, floor)))
    return sorted(found, key=lambda f: -f[1].score)


def choose(clip, time):
    """((colour, confidence), its Evidence); 'none' if nothing moves that has a colour of a thing."""
    found = find(clip, time)
    (name, best), (_, second) = found[:2]
    if best.score <= 0:
        return ('none', 0.0), best
    return (name, float(1 - second.score / best.score)), best


def widened(mask):
    """A mask and what is near it."""
    return blur(mask.astype(np.float32), max(1, round(0.07 * mask.shape[1]))) > 0


class Path:
    """Where the thing is: .x, .y (NaN where it is not to be seen), in picture heights."""

    def __init__(self, evidence, fps):
        mask = evidence.mask
        t, h, w = mask.shape
        weight = mask * evidence.alike
        self.fps = fps
        self.seen = evidence.area > 0.4 * evidence.size
        x = np.full(t, np.nan)
        y = np.full(t, np.nan)
        ys, xs = (np.arange(h) + 0.5) / h, (np.arange(w) + 0.5) / h
        last = None
        for i in np.flatnonzero(self.seen):
            m = weight[i]
            px, py = m.sum(0), m.sum(1)
            # stray pixels pull a mean away: again, near the median only
            cx = xs[np.searchsorted(px.cumsum(), px.sum() / 2)]
            cy = ys[np.searchsorted(py.cumsum(), py.sum() / 2)]
            near = m * (np.abs(xs - cx) < 0.5) * (np.abs(ys - cy) < 0.3)[:, None]
            total = near.sum()
            if total <= 0:
                continue
            x[i] = (near.sum(0) * xs).sum() / total
            y[i] = (near.sum(1) * ys).sum() / total
        self.x, self.y = x, y
        self.width, self.seconds = w / h, t / fps

    def velocity(self, lag=0.25):
        """Velocities over lag seconds, without the jumps of what comes in on the other side."""
        k = max(1, round(lag * self.fps))
        vx, vy = (self.x[k:] - self.x[:-k]), (self.y[k:] - self.y[:-k])
        good = ~np.isnan(vx) & (np.abs(vx) < 0.5 * self.width) & (np.abs(vy) < 0.45)
        return vx[good] * self.fps / k, vy[good] * self.fps / k


# Paces (heights a second) between slow and fast.
LIMITS = {'left': 0.26, 'right': 0.26, 'rising': 0.20, 'sinking': 0.20, 'bouncing': 0.44,
          'circling': 0.39}


def motion(path):
    """((motion, confidence), (speed, confidence)) of a path."""
    vx, vy = path.velocity()
    if len(vx) < 4:
        return ('none', 0.0), ('none', 0.0)
    # one wrong place makes two wild velocities
    vx, vy = (np.clip(v, -3 * np.median(np.abs(v)), 3 * np.median(np.abs(v))) for v in (vx, vy))
    ax, ay = np.abs(vx).mean(), np.abs(vy).mean()
    if max(ax, ay) < 0.05:
        return ('still', float(1 - max(ax, ay) / 0.05)), ('none', 0.0)
    along_x, along_y = vx.mean() / max(ax, 1e-6), vy.mean() / max(ay, 1e-6)
    if ax > ay and abs(along_x) > 0.6:
        name, sure = 'left' if along_x < 0 else 'right', abs(along_x)
    elif ay >= ax and abs(along_y) > 0.6:
        name, sure = 'rising' if along_y < 0 else 'sinking', abs(along_y)
    elif ax < 0.35 * ay:
        name, sure = 'bouncing', 1 - abs(along_y)
    else:
        name, sure = 'circling', 1 - max(abs(along_x), abs(along_y))
    # While a thing comes in or leaves, the middle of what is seen of it moves at half its speed.
    if name == 'bouncing':
        pace = np.abs(path.velocity(0.125)[1]).mean()
    elif name == 'circling':
        pace = np.hypot(vx, vy).mean()
    else:
        pace = np.quantile(np.abs(vx if name in ('left', 'right') else vy), 0.75)
    limit = LIMITS[name]
    return ((name, float(np.clip(sure, 0, 1))),
            ('fast' if pace > limit else 'slow', float(np.clip(2 * abs(np.log(pace / limit)), 0, 1))))
