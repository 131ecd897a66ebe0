"""What the training stages share: runs, checkpoints, schedules, contact sheets."""
import copy
import json
import math
import pathlib
import time

import numpy as np
import torch


class Run:
    """A folder with a stage's checkpoint, its settings and a line of losses per report."""

    def __init__(self, folder, stage, settings):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.stage = stage
        self.checkpoint = self.folder / f"{stage}.pt"
        self.log = self.folder / f"{stage}.jsonl"
        (self.folder / f"{stage}.settings.json").write_text(json.dumps(settings, indent=1) + "\n")
        self.began = time.time()

    def load(self):
        return torch.load(self.checkpoint, map_location="cpu") if self.checkpoint.exists() else None

    def save(self, **state):
        part = self.checkpoint.with_suffix(".part")
        torch.save(state, part)
        part.replace(self.checkpoint)

    def report(self, **values):
        values["seconds"] = round(time.time() - self.began, 1)
        line = json.dumps({k: round(v, 6) if isinstance(v, float) else v for k, v in values.items()})
        with self.log.open("a") as f:
            f.write(line + "\n")
        print(self.stage, line, flush=True)

    def sheet(self, name, pictures):
        """pictures [rows, columns, H, W, 3], 8 bits or [0, 1]."""
        save_sheet(self.folder / f"{self.stage}-{name}.ppm", pictures)


def save_sheet(path, pictures):
    p = np.asarray(pictures)
    if p.dtype != np.uint8:
        p = (p.clip(0, 1) * 255 + 0.5).astype(np.uint8)
    rows, columns, h, w, _ = p.shape
    flat = p.transpose(0, 2, 1, 3, 4).reshape(rows * h, columns * w, 3)
    pathlib.Path(path).write_bytes(b"P6 %d %d 255\n" % (columns * w, rows * h) + flat.tobytes())


class EMA:
    def __init__(self, model, decay):
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, model, step):
        decay = min(self.decay, (1 + step) / (10 + step))
        for mine, other in zip(self.model.parameters(), model.parameters()):
            mine.lerp_(other, 1 - decay)


def learning_rate(step, steps, peak, warm_up=100, floor=0.02):
    if step < warm_up:
        return peak * (step + 1) / warm_up
    t = (step - warm_up) / max(1, steps - warm_up)
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1, t))))


class Budget:
    """A length in steps or seconds, whichever is asked; its share done is what schedules read."""

    def __init__(self, steps, seconds):
        self.steps, self.seconds, self.began = steps, seconds, time.time()

    def share(self, step):
        if self.seconds:
            return min(1.0, (time.time() - self.began) / self.seconds)
        return min(1.0, step / self.steps)
