"""Stage 3: text encoder and causal transformer together, by teacher forcing.

    python3 tools/train/train_model.py --run RUN --minutes 60

Flow matching: every block of three latent frames has a timestep of its own and sees clean blocks
before it, as the KV cache will hold them. Clean blocks get a little noise that nobody tells the
model of, so that it forgives its own mistakes later. Items are either the start of a video (its first
three blocks) or two blocks from its middle with all the window holds. In clips that change, blocks
have the caption of their time (as after a switch that keeps the cache) or all of them the new one (as
after one that computes it again); then only the changed blocks count.
"""
import argparse
import pathlib

import numpy as np
import torch

import common
import encode
import model as m
import optim
import text
import world

CONTEXT_NOISE = 0.15  # the most
SHIFT = 3.0           # of the noise levels that are trained


class Data:
    def __init__(self, folder, window, seed):
        self.folder = folder
        self.reload()
        self.mean, self.std = encode.statistics(self.latents)
        self.rng = np.random.default_rng(seed)
        self.blocks = self.latents.shape[1] // m.BLOCK
        self.context = window // m.BLOCK - 1

    def reload(self):
        """Clips that were encoded meanwhile."""
        self.latents, self.scenes = encode.Clips(self.folder).open()
        self.changing = [i for i, s in enumerate(self.scenes) if s.change >= 0]

    def caption(self, attributes):
        rng = self.rng
        if rng.random() < 0.04:
            return ""
        caption = world.caption(attributes, int(rng.integers(1 << 62)))
        return text.disturbed(caption, rng) if rng.random() < 0.12 else caption

    def item(self, start):
        """Latents [blocks, BLOCK, 16, h, w], a caption a block, which blocks count."""
        rng = self.rng
        pick = self.changing if rng.random() < 0.25 and self.changing else range(len(self.scenes))
        i = int(pick[rng.integers(len(pick))])
        s = self.scenes[i]
        count = self.context + (1 if start else 2)
        border = (s.change - 9) // 12 + 1 if s.change >= 0 else self.blocks
        first = 0
        if not start:
            last = self.blocks - count
            first = int(rng.integers(1, last + 1))
            if s.change >= 0 and rng.random() < 0.7:  # where it happens
                first = int(np.clip(border - self.context - rng.integers(0, 2), 1, last))
        x = np.asarray(self.latents[i, first * m.BLOCK:(first + count) * m.BLOCK], np.float32)
        x = torch.from_numpy(x).unflatten(0, (count, m.BLOCK))
        x = (x - self.mean.view(-1, 1, 1)) / self.std.view(-1, 1, 1)
        before, after = self.caption(s.first), self.caption(s.then)
        old = [first + n < border for n in range(count)]
        counts = [True] * count
        if any(old) and not all(old) and rng.random() < 0.5:  # computed again under the new one
            captions, counts = [after] * count, [not o for o in old]
        else:
            captions = [before if o else after for o in old]
        return x, captions, counts

    def batch(self, size, start):
        items = [self.item(start) for _ in range(size)]
        return (torch.stack([i[0] for i in items]), [i[1] for i in items],
                torch.tensor([i[2] for i in items]))


def encode_captions(encoder, tokenizer, captions, device):
    """[B, N, text_len, text_dim]: each caption once through the encoder."""
    unique = sorted({c for row in captions for c in row})
    embeds = encoder(tokenizer(unique).to(device))
    at = torch.tensor([[unique.index(c) for c in row] for row in captions], device=device)
    return embeds[at]


def noise_levels(shape, rng, shift=SHIFT):
    u = torch.from_numpy(rng.random(shape)).float()
    sigma = shift * u / (1 + (shift - 1) * u)
    return torch.where(torch.from_numpy(rng.random(shape)) < 0.08, torch.ones(()), sigma)


class Stage:
    def __init__(self, a):
        self.a = a
        torch.set_num_threads(a.threads)
        torch.manual_seed(a.seed)
        self.run = common.Run(a.run, "model", vars(a))
        settings = {k: getattr(a, k) for k in ("dim", "ffn_dim", "num_heads", "num_layers", "window")}
        state = self.run.load()
        if state:
            settings = state["settings"]
        self.tokenizer = text.Tokenizer(pathlib.Path(a.run, "spiece.model"), 48)
        settings["vocab"] = self.tokenizer.vocab
        self.settings = m.Settings(**settings)
        self.model = torch.nn.ModuleDict({"text": m.TextEncoder(self.settings),
                                          "transformer": m.Transformer(self.settings)}).to(a.device)
        self.step = state["step"] if state else 0
        if state:
            self.model.load_state_dict(state["model"])
        self.ema = common.EMA(self.model, a.ema)
        if state:
            self.ema.model.load_state_dict(state["ema"])
        self.optimiser = optim.Optimiser(self.model, a.lr, weight_decay=0.02)
        if state and "optimiser" in state and not a.restart:
            self.optimiser.load_state_dict(state["optimiser"])
        self.data = Data(a.run, self.settings.window, a.seed + self.step)
        torch.manual_seed(a.seed + self.step)

    def save(self):
        self.run.save(model=self.model.state_dict(), ema=self.ema.model.state_dict(), step=self.step,
                      settings={k: v for k, v in self.settings.__dict__.items()},
                      optimiser=self.optimiser.state_dict())

    def loss(self, start):
        a, d = self.a, self.data
        x, captions, counts = d.batch(a.batch, start)
        x, counts = x.to(a.device), counts.to(a.device)
        b, n = x.shape[:2]
        noisy = list(range(n)) if start else list(range(d.context, n))
        clean = list(range(n - 1))
        key = (start, x.shape[-2:])
        if key not in self.layouts:
            self.layouts[key] = m.Layout(self.settings, clean, noisy, x.shape[-2] // 2, x.shape[-1] // 2)
        level = torch.from_numpy(d.rng.random((b, len(clean)))).float().to(a.device) * CONTEXT_NOISE
        level = level[:, :, None, None, None, None]
        context = (1 - level) * x[:, clean] + level * torch.randn_like(x[:, clean])
        sigma = noise_levels((b, len(noisy)), d.rng).to(a.device)
        s = sigma[:, :, None, None, None, None]
        noise = torch.randn_like(x[:, noisy])
        target = noise - x[:, noisy]
        t = torch.cat([torch.zeros(b, len(clean), device=a.device), 1000 * sigma], 1)
        embeds = encode_captions(self.model["text"], self.tokenizer, captions, a.device)
        flow = self.model["transformer"](torch.cat([context, (1 - s) * x[:, noisy] + s * noise], 1), t,
                                         embeds[:, clean + noisy], self.layouts[key])
        error = (flow[:, len(clean):].float() - target).square().flatten(2).mean(2)
        weight = counts[:, noisy].float()
        return (error * weight).sum() / weight.sum().clamp_min(1)

    def train(self):
        a = self.a
        self.layouts = {}
        budget, began = common.Budget(a.steps, a.minutes * 60), self.step
        sums = {True: [], False: []}
        while budget.share(self.step) < 1:
            rate = common.learning_rate(int(budget.share(self.step) * 10000), 10000, a.lr, 0)
            rate *= min(1.0, (self.step - began + 1) / a.warm_up)
            start = self.data.rng.random() < 0.4
            loss = self.loss(start)
            self.optimiser.zero_grad()
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            if torch.isfinite(norm):
                self.optimiser.step(rate)
                self.ema.update(self.model, self.step)
            self.step += 1
            sums[start].append(loss.item())
            if self.step % a.report == 0:
                self.run.report(step=self.step, clips=len(self.data.scenes), start=float(np.mean(sums[True] or [0])),
                                middle=float(np.mean(sums[False] or [0])), norm=norm.item(), lr=rate)
                sums = {True: [], False: []}
                self.data.reload()
            if self.step % (10 * a.report) == 0:
                self.save()
        self.save()
        self.run.report(step=self.step, final=1)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--run", required=True)
    p.add_argument("--dim", type=int, default=192)
    p.add_argument("--ffn-dim", type=int, default=768)
    p.add_argument("--num-heads", type=int, default=3)
    p.add_argument("--num-layers", type=int, default=6)
    p.add_argument("--window", type=int, default=9)
    p.add_argument("--batch", type=int, default=4)
    p.add_argument("--steps", type=int, default=20000)
    p.add_argument("--minutes", type=float, default=0, help="instead of --steps")
    p.add_argument("--lr", type=float, default=1e-3)
    p.add_argument("--warm-up", type=int, default=200)
    p.add_argument("--ema", type=float, default=0.999)
    p.add_argument("--restart", action="store_true", help="forget the optimiser's state")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--device", default="cpu")
    p.add_argument("--report", type=int, default=50)
    p.add_argument("--seed", type=int, default=1)
    Stage(p.parse_args()).train()


if __name__ == "__main__":
    main()
