"""Stage 2: latents of rendered clips, once, so that the VAE costs the transformer's stage nothing.

    python3 tools/train/encode.py --run RUN --clips 6000 [--pictures 1]

Clips of 93 pictures (24 latent frames, 8 blocks) for the video, of 1 or 9 to begin with. On a CPU the
engine encodes (postcard-latents of the build folder: several times as fast as PyTorch there), on a GPU
PyTorch. Can be stopped and called again: it goes on where it was.
"""
import argparse
import ctypes
import pathlib
import subprocess

import numpy as np
import torch

import common
import export
import vae
import world

PICTURES = 93


class Clips:
    """What this stage writes: latents f16 [N, 1 + (pictures - 1) / 4, 16, h, w], normalised with the
    engine's constants (not yet of mean 0 and deviation 1), and their scenes."""

    def __init__(self, folder, pictures=PICTURES, width=160, height=96):
        self.path = pathlib.Path(folder, f"latents-{pictures}.f16")
        self.scene_path = pathlib.Path(folder, f"scenes-{pictures}.bin")
        self.shape = (1 + (pictures - 1) // 4, vae.LATENT_CHANNELS, height // 8, width // 8)

    def count(self):
        """Whole clips; what an interruption left over is cut off."""
        bytes_of = {self.path: 2 * int(np.prod(self.shape)), self.scene_path: ctypes.sizeof(world.Scene)}
        counts = [p.stat().st_size // n if p.exists() else 0 for p, n in bytes_of.items()]
        return min(counts)

    def trim(self):
        n = self.count()
        for p, size in ((self.path, 2 * int(np.prod(self.shape))),
                        (self.scene_path, ctypes.sizeof(world.Scene))):
            with p.open("ab") as f:
                f.truncate(n * size)
        return n

    def open(self):
        n = self.count()
        raw = self.scene_path.read_bytes()
        size = ctypes.sizeof(world.Scene)
        scenes = [world.Scene.from_buffer_copy(raw, i * size) for i in range(n)]
        return np.memmap(self.path, np.float16, "r", shape=(n, *self.shape)), scenes


def statistics(latents, count=128):
    """Mean and deviation [16] over the first clips, always the same ones."""
    some = np.asarray(latents[:count], np.float32)
    return torch.from_numpy(some.mean((0, 1, 3, 4))), torch.from_numpy(some.std((0, 1, 3, 4)))


@torch.no_grad()
def encode_here(a, clips, model, first, width, height):
    model = model.to(a.device)
    with clips.path.open("ab") as latents, clips.scene_path.open("ab") as scenes:
        for i in range(first, a.clips):
            s = world.scene(a.seed * 1000003 + i, changes=i % 2 == 0, pictures=a.pictures)
            if a.pictures > 9 and i % 4:
                world.leave(s)
            rgb = torch.from_numpy(world.render(s, 0, a.pictures, width, height))
            x = rgb.permute(0, 3, 1, 2)[None].to(a.device, torch.float32) / 127.5 - 1
            z = vae.normalise(model.encode(x.bfloat16())[0][0].float())
            latents.write(z.half().cpu().numpy().tobytes())
            scenes.write(bytes(s))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--run", required=True)
    p.add_argument("--clips", type=int, default=6000)
    p.add_argument("--pictures", type=int, default=PICTURES, help="of a clip: 1 + 4 n")
    p.add_argument("--size", default="160x96")
    p.add_argument("--encoder", default=str(pathlib.Path(__file__).parents[2] /
                                            "build/tools/train/world/postcard-latents"))
    p.add_argument("--device", default="cpu")
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args()
    width, height = map(int, a.size.split("x"))
    run = common.Run(a.run, "encode", vars(a))
    state = torch.load(pathlib.Path(a.run, "vae.pt"), map_location="cpu")
    model = vae.VAE(state["dim"]).requires_grad_(False)
    model.load_state_dict(state["ema"])
    clips = Clips(a.run, a.pictures, width, height)
    first = clips.trim()
    if a.device == "cpu":
        path = pathlib.Path(a.run, "vae.safetensors")
        export.save(path, {k: v.bfloat16() for k, v in model.state_dict().items()})
        subprocess.run([a.encoder, path, clips.path, clips.scene_path, str(first),
                        str(max(0, a.clips - first)), str(a.seed), str(width), str(height),
                        str(a.pictures)], check=True)
    else:
        encode_here(a, clips, model, first, width, height)
    run.report(clips=clips.count())


if __name__ == "__main__":
    main()
