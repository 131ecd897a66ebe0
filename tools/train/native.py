"""Builds the C parts of the training tools (the renderer, fused operations) and loads them."""
import ctypes
import hashlib
import os
import pathlib
import subprocess
import tempfile

HERE = pathlib.Path(__file__).resolve().parent


def load(name, sources, flags=()):
    """The shared library of `sources`, built in the temporary folder when they changed."""
    sources = [HERE / s for s in sources]
    headers = sorted({h for s in sources for h in s.parent.glob("*.h")})
    digest = hashlib.sha256(b"".join(p.read_bytes() for p in [*sources, *headers])).hexdigest()[:16]
    path = pathlib.Path(tempfile.gettempdir()) / f"unreel-{name}-{os.getuid()}-{digest}.so"
    if not path.exists():
        part = path.with_suffix(f".{os.getpid()}")
        subprocess.run([os.environ.get("CC", "cc"), "-O3", "-march=native", "-ffast-math", "-shared",
                        "-fPIC", *flags, "-o", str(part), *map(str, sources), "-lm"], check=True)
        os.replace(part, path)
    return ctypes.CDLL(str(path))


def pointer(array):
    """Of a NumPy array or a CPU tensor, contiguous."""
    address = array.ctypes.data if hasattr(array, "ctypes") else array.data_ptr()
    return ctypes.c_void_p(address)
