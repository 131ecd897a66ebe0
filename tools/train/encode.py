"""Stage 2: latents of rendered clips, once, so that the VAE costs the transformer's stage nothing.

    python3 tools/train/encode.py --run RUN --clips 6000

Can be stopped and called again: it goes on where it was.
"""
import argparse
import ctypes
import pathlib

import numpy as np
import torch

import common
import vae
import world

PICTURES = 93  # 24 latent frames: 8 blocks


class Clips:
    """What this stage wrote: latents f16 [N, 24, 16, h, w] as the VAE gives them, and scenes."""

    def __init__(self, folder, writable=False):
        folder = pathlib.Path(folder)
        self.path, self.scene_path = folder / "latents.npy", folder / "scenes.bin"
        self.folder = folder

    def create(self, count, width, height):
        shape = (count, (PICTURES + 3) // 4, vae.LATENT_CHANNELS, height // 8, width // 8)
        if self.path.exists():
            return np.load(self.path, mmap_mode="r+")
        return np.lib.format.open_memmap(self.path, "w+", np.float16, shape)

    def open(self):
        """Latents, scenes: those that are done."""
        raw = self.scene_path.read_bytes()
        size = ctypes.sizeof(world.Scene)
        scenes = [world.Scene.from_buffer_copy(raw, i * size) for i in range(len(raw) // size)]
        return np.load(self.path, mmap_mode="r")[:len(scenes)], scenes


def statistics(latents, count=400):
    """Mean and deviation [16] over clips."""
    some = np.asarray(latents[:count], np.float32)
    return (torch.from_numpy(some.mean((0, 1, 3, 4))), torch.from_numpy(some.std((0, 1, 3, 4))))


@torch.no_grad()
def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--run", required=True)
    p.add_argument("--clips", type=int, default=6000)
    p.add_argument("--size", default="160x96")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--device", default="cpu")
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    width, height = map(int, a.size.split("x"))
    run = common.Run(a.run, "encode", vars(a))
    state = torch.load(pathlib.Path(a.run, "vae.pt"), map_location="cpu")
    model = vae.VAE(state["dim"])
    model.load_state_dict(state["ema"])
    model.requires_grad_(False).to(a.device)
    clips = Clips(a.run)
    latents = clips.create(a.clips, width, height)
    done = clips.scene_path.stat().st_size // ctypes.sizeof(world.Scene) if clips.scene_path.exists() else 0
    with clips.scene_path.open("ab") as f:
        for i in range(done, len(latents)):
            s = world.scene(a.seed * 1000003 + i, changes=i % 4 == 0, pictures=PICTURES)
            rgb = torch.from_numpy(world.render(s, 0, PICTURES, width, height))
            x = rgb.permute(0, 3, 1, 2)[None].to(a.device, torch.float32) / 127.5 - 1
            latents[i] = model.encode(x.bfloat16())[0][0].float().cpu().numpy()
            f.write(bytes(s))
            f.flush()
            if i % 100 == 99:
                run.report(clips=i + 1)


if __name__ == "__main__":
    main()
