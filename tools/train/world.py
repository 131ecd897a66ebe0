"""The renderer in world/ for Python: scenes, captions, pictures."""
import ctypes

import numpy as np

import native

FPS = 16
KINDS = ("time", "weather", "ground", "thing", "color", "motion", "fast")
NAMES = {
    "time": ("dawn", "noon", "sunset", "night"),
    "weather": ("clear", "clouds", "rain", "snow"),
    "ground": ("sea", "hills", "desert", "city"),
    "thing": ("sailboat", "balloon", "bird", "ball", "train"),
    "color": ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white"),
    "motion": ("left", "right", "rising", "sinking", "bouncing", "circling"),
    "fast": ("slow", "fast"),
}


class Attributes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int32) for name in KINDS]

    def names(self):
        return {kind: NAMES[kind][getattr(self, kind)] for kind in KINDS}


class Scene(ctypes.Structure):
    _fields_ = [("seed", ctypes.c_uint64), ("first", Attributes), ("then", Attributes),
                ("change", ctypes.c_int32)]
    _fields_ += [(n, ctypes.c_float) for n in ("x", "y", "phase", "size", "scroll", "pan", "sky")]


_library = native.load("world", ["world/scene.c", "world/caption.c", "world/paint.c",
                                 "world/things.c", "world/render.c"])


def scene(seed, changes=False, pictures=93):
    s = Scene()
    _library.world_scene(ctypes.byref(s), ctypes.c_uint64(seed), int(changes), pictures)
    return s


def place(seed, **attributes):
    """A scene of chosen attributes, by name; None if they make no sense together."""
    a = Attributes(**{k: NAMES[k].index(v) for k, v in attributes.items()})
    if not _library.world_allows(ctypes.byref(a)):
        return None
    s = Scene()
    _library.world_place(ctypes.byref(s), ctypes.c_uint64(seed), ctypes.byref(a))
    return s


def leave(s):
    """Places a thing that goes somewhere so that it leaves the picture soon."""
    _library.world_leave(ctypes.byref(s))


def begins(s):
    """Whether a scene is as videos begin: not such that its thing leaves soon."""
    return bool(_library.world_begins(ctypes.byref(s)))


def caption(attributes, seed):
    text = ctypes.create_string_buffer(256)
    _library.world_caption(ctypes.byref(attributes), ctypes.c_uint64(seed), text, len(text), None)
    return text.value.decode()


def told(attributes, seed):
    """The kinds of attributes that the caption of this seed tells."""
    text, bits = ctypes.create_string_buffer(256), ctypes.c_uint32()
    _library.world_caption(ctypes.byref(attributes), ctypes.c_uint64(seed), text, len(text),
                           ctypes.byref(bits))
    return [kind for i, kind in enumerate(KINDS) if bits.value >> i & 1]


def render(s, first, count, width, height):
    """Pictures [count, height, width, 3], 8 bits."""
    rgb = np.empty((count, height, width, 3), np.uint8)
    if _library.world_render(ctypes.byref(s), first, count, width, height, native.pointer(rgb)):
        raise MemoryError("world_render")
    return rgb


def cover(s, first, count, width, height):
    """How much of each pixel the thing covers, [count, height, width]."""
    share = np.empty((count, height, width), np.float32)
    if _library.world_cover(ctypes.byref(s), first, count, width, height, native.pointer(share)):
        raise MemoryError("world_cover")
    return share
