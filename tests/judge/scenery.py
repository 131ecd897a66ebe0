"""What stands around the thing: time of day and ground by colours, weather by what falls and drifts."""
import numpy as np


def rows(rgb, low, high):
    """Median colour of the rows between two heights, over all pictures."""
    h = rgb.shape[1]
    part = rgb[::3, round(low * h):max(round(high * h), round(low * h) + 1)]
    return np.median(part.reshape(-1, 3), 0)


def nearest(value, points):
    """(name of the nearest point, confidence): 1 at a point, 0 half way between two."""
    ranked = sorted((float(np.linalg.norm(np.subtract(value, at))), name) for name, at in points)
    other = next((d for d, name in ranked if name != ranked[0][1]), 1.0)
    return ranked[0][1], float(np.clip(1 - ranked[0][0] / max(other, 1e-6), 0, 1))


def time_of_day(clip):
    """(time, confidence), by brightness and warmth of the sky above the horizon."""
    r, g, b = sky = rows(clip.rgb, 0.27, 0.43)
    luma = 0.21 * r + 0.72 * g + 0.07 * b
    if luma < 0.30:
        return 'night', float(np.clip((0.30 - luma) / 0.08, 0, 1))
    warm = (r - b) / sky.sum()
    ranges = {'sunset': (0.055, 1), 'dawn': (-0.10, 0.055), 'noon': (-1, -0.10)}
    for name, (low, high) in ranges.items():
        if low <= warm < high:
            return name, float(np.clip(min(warm - low, high - warm, luma - 0.30) / 0.05, 0, 1))
    return 'none', 0.0


# Light on the ground, and hues of the ground in it as ((R - B) / S, (G - (R + B) / 2) / S), S = R + G + B.
LIGHT = {'dawn': (0.98, 0.84, 0.82), 'noon': (1, 1, 1), 'sunset': (0.86, 0.58, 0.48),
         'night': (0.26, 0.32, 0.50)}
GROUNDS = (('sea', (-0.48, 0.01)), ('sea', (-0.42, 0.03)), ('hills', (0.04, 0.33)),
           ('hills', (0.0, 0.075)), ('desert', (0.30, 0.01)), ('city', (-0.015, -0.006)))


def ground(clip, time):
    """(ground, confidence), by the hue of the lowest rows in the light of the time of day."""
    colour = rows(clip.rgb, 0.84, 0.99) / np.asarray(LIGHT[time])
    r, g, b = colour
    s = max(r + g + b, 1e-6)
    name, sure = nearest(((r - b) / s, (g - (r + b) / 2) / s), GROUNDS)
    return name, sure


def opened(luma, k):
    """Without what is bright and narrower than k columns: the greatest of k least of k columns."""
    def least(a):
        a = np.pad(a, ((0, 0), (0, 0), (k // 2, k // 2)), mode='edge')
        return np.minimum.reduce([a[..., i:a.shape[-1] - k + 1 + i] for i in range(k)])
    return 255 - least(255 - least(luma))


def particles(clip, away):
    """What is small, bright and not always there [t, h, w], without where the mask `away` is."""
    luma = clip.luma
    h, w = luma.shape[1:]
    small = luma - opened(luma, 2 * round(0.03 * h) + 1)
    small = small.astype(np.float32) / 255
    small = np.maximum(small - np.median(small[::3], 0) - 0.03, 0)
    k = max(1, round(h / away.shape[1]))
    away = away.repeat(k, 1).repeat(k, 2)
    mask = np.zeros(luma.shape, bool)
    mh, mw = min(h, away.shape[1]), min(w, away.shape[2])
    mask[:, :mh, :mw] = away[:, :mh, :mw]
    small[mask] = 0
    return small


def spread(small):
    """Share of the fields of a grid in which particles pass now and then."""
    t, h, w = small.shape
    k = max(1, round(0.125 * h))
    some = small[:, :h // k * k, :w // k * k] > 0.05
    some = some.reshape(t, h // k, k, w // k, k).any((2, 4)).mean(0)
    return float((some > 0.04).mean())


def fall(small, fps):
    """How well the next picture agrees if all falls like snow, and like rain."""
    a = small - small.mean((1, 2), keepdims=True)
    h = a.shape[1]
    energy = float((a * a).mean()) + 1e-12

    def agree(low, high):  # heights a second
        steps = range(max(1, round(low * h / fps)), max(2, round(high * h / fps) + 1))
        return max(float((a[:-1, :h - d] * a[1:, d:]).mean()) / energy for d in steps)
    return agree(0.15, 0.60), agree(0.95, 1.80)


def cloudiness(clip, away):
    """Share of the uppermost sky that changes while nothing else passes there: clouds drift."""
    h = clip.rgb.shape[1]
    sky = clip.rgb[:, round(0.03 * h):round(0.20 * h)][::4]
    away = away[:, round(0.03 * h):round(0.20 * h)][::4]
    sky = np.where(away[..., None], np.nan, sky)
    sky = np.sort(sky, 0)
    seen = (sky[..., 0] == sky[..., 0]).sum(0)
    at = lambda q: np.take_along_axis(sky, np.maximum(((seen - 1) * q).astype(int), 0)[None, :, :, None], 0)[0]
    change = (at(0.9) - at(0.1)).max(-1)
    good = seen > 0.4 * len(sky)
    return float((change[good] > 0.06).mean()) if good.any() else 0.0


def weather(clip, away):
    """(weather, confidence), by what falls and, if nothing does, by what drifts in the sky."""
    small = particles(clip, away)
    covered = spread(small)
    snow, rain = fall(small, clip.fps)
    # streaks are hard to see before a bright ground, but nothing else is as fast
    if covered > 0.6 or covered > 0.4 and rain > max(snow, 0.3):
        # flakes agree with nothing but slow shifts, streaks are long and agree with both a bit
        lean = (rain - snow) / max(rain + snow, 1e-6) + 0.25
        sure = min(1, (covered - 0.4) * 3) * min(1, 2 * abs(lean))
        return ('rain' if lean > 0 else 'snow'), float(np.clip(sure, 0, 1))
    cloudy = cloudiness(clip, away)
    sure = min((0.6 - covered) * 5, abs(cloudy - 0.45) * 3, 1)
    return ('clouds' if cloudy > 0.45 else 'clear'), float(max(sure, 0))
