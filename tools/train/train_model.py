"""Stage 3: text encoder and causal transformer together, by teacher forcing.

    python3 tools/train/train_model.py --run RUN --minutes 60 [--pictures 1]

First on stills and on the first blocks of videos (--pictures 1 and 9), where a step sees many more
scenes, then on videos. Flow matching: every block of three latent frames has a timestep of its own
and sees clean blocks before it, as the KV cache will hold them. Clean blocks get a little noise that
nobody tells the model of, so that it forgives its own mistakes later. Items are either the start of a
video (its first three blocks) or two blocks from its middle with all the window holds. In clips that
change, blocks have the caption of their time (as after a switch that keeps the cache) or all of them
the new one (as after one that computes it again); then only the changed blocks count. Where the thing
is counts more than its background: it is small, and it is what people ask for.

Words that change little in a picture, "left" and "right" above all, hardly move the text encoder by
what the pictures teach; so it also has to tell the attributes of captions apart (Words).
"""
import argparse
import collections
import functools
import pathlib

import numpy as np
import torch
import torch.nn.functional as F

import common
import encode
import model as m
import optim
import text
import world

CONTEXT_NOISE = 0.1   # the most
RESAMPLE = 0.7        # the most noise from which clean blocks are made again by the model itself
SHIFT = 3.0           # of the noise levels that are trained
DISTURBED = 0.25      # share of captions with words that tell nothing or are misspelt
WORDS_EVERY = 4       # steps; the text encoder over other captions takes as long as over a batch's own


def shares(scenes):
    """How often each thing has each motion."""
    counts = collections.Counter((s.first.thing, s.first.motion) for s in scenes)
    return {kind: n / len(scenes) for kind, n in counts.items()}


@functools.lru_cache
def drawn_shares():
    return shares([world.scene(seed) for seed in range(20000)])


class Data:
    def __init__(self, folder, pictures, window, seed):
        self.clips = encode.Clips(folder, pictures)
        self.pictures = pictures
        self.reload()
        self.mean, self.std = encode.statistics(encode.Clips(folder).open()[0])
        self.rng = np.random.default_rng(seed)
        self.length = min(m.BLOCK, self.latents.shape[1])
        self.blocks = self.latents.shape[1] // self.length
        self.context = window // m.BLOCK - 1 if self.blocks > 1 else 0

    def reload(self):
        """Clips that were encoded meanwhile."""
        self.latents, self.scenes = self.clips.open()
        there = shares(self.scenes)
        kinds = [(s.first.thing, s.first.motion) for s in self.scenes]
        # as often as the renderer draws them now, whatever it was when they were encoded
        weight = np.array([drawn_shares().get(k, 0) / there[k] for k in kinds])
        changing = np.array([s.change >= 0 for s in self.scenes])
        begins = np.array([world.begins(s) for s in self.scenes])
        kinds = {"any": weight, "changing": weight * changing, "leaving": weight * ~begins,
                 "start": weight * begins, "start changing": weight * begins * changing}
        self.chances = {name: w / w.sum() for name, w in kinds.items() if w.any()}

    @functools.lru_cache(None)
    def leaves(self, i):
        """The block in which the thing is out of the picture; None: it never is."""
        s = self.scenes[i]
        if s.first.motion > world.NAMES["motion"].index("sinking"):
            return None
        seen = world.cover(s, 0, self.pictures, 20, 12).sum((1, 2))
        at = int(seen.argmin())
        return (at - 9) // 12 + 1 if seen[at] < 0.2 * seen.max() else None

    def draw(self, start):
        """A scene's number. What leaves or changes is drawn more often than it is in the data."""
        u = self.rng.random()
        if start:
            kind = "start changing" if u < 0.25 else "start"
        else:
            kind = "changing" if u < 0.25 else "leaving" if u < 0.55 else "any"
        return int(self.rng.choice(len(self.scenes), p=self.chances.get(kind, self.chances["any"])))

    def caption(self, attributes):
        rng = self.rng
        if rng.random() < 0.08:
            return ""
        caption = world.caption(attributes, int(rng.integers(1 << 62)))
        return text.disturbed(caption, rng) if rng.random() < DISTURBED else caption

    def cover(self, scene, first, count):
        """Share of each latent position that the thing covers: [count, h, w]."""
        height, width = self.latents.shape[-2:]
        shares = world.cover(scene, max(0, 4 * first - 3), 4 * count, width, height)
        if first:
            return shares.reshape(count, 4, height, width).max(1)
        return np.stack([shares[max(0, 4 * f - 3):4 * f + 1].max(0) for f in range(count)])

    def item(self, start):
        """Latents [blocks, length, 16, h, w], what the thing covers [blocks, length, h, w], a caption a
        block, which blocks count."""
        rng = self.rng
        i = self.draw(start)
        s = self.scenes[i]
        count = self.context + (1 if start else 2)
        border = (s.change - 9) // 12 + 1 if s.change >= 0 else self.blocks
        first = 0
        if not start:
            last, where = self.blocks - count, self.leaves(i)
            if s.change >= 0:
                where = border
            if where is not None and rng.random() < 0.7:  # where it happens
                first = int(np.clip(where - self.context - rng.integers(0, 2), 0, last))
            else:
                first = int(rng.integers(1, last + 1))
        span = slice(first * self.length, (first + count) * self.length)
        x = torch.from_numpy(np.asarray(self.latents[i, span], np.float32))
        x = ((x - self.mean.view(-1, 1, 1)) / self.std.view(-1, 1, 1)).unflatten(0, (count, -1))
        cover = torch.from_numpy(self.cover(s, span.start, count * self.length)).unflatten(0, (count, -1))
        before, after = self.caption(s.first), self.caption(s.then)
        old = [first + n < border for n in range(count)]
        counts = [True] * count
        if any(old) and not all(old) and rng.random() < 0.5:  # computed again under the new one
            captions, counts = [after] * count, [not o for o in old]
        else:
            captions = [before if o else after for o in old]
        return x, cover, captions, counts

    def batch(self, size, start):
        x, cover, captions, counts = zip(*(self.item(start) for _ in range(size)))
        return torch.stack(x), torch.stack(cover), captions, torch.tensor(counts)


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


class Words(torch.nn.Module):
    """Asks of the text as the transformer sees it, on average over a caption, that each attribute that is
    told can be read from its direction. Of use in training only."""

    SHARPNESS = 16.0  # of the choice; larger ones are content with smaller angles

    def __init__(self, dim):
        super().__init__()
        self.kinds = torch.nn.ParameterList(torch.randn(len(world.NAMES[k]), dim) for k in world.KINDS)

    def forward(self, context, mask, values):
        """context [B, L, C], mask [B, L] of real tokens, values [B, kinds], -1: not told."""
        mean = (context * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        mean = F.normalize(mean, dim=-1)
        return sum(F.cross_entropy(self.SHARPNESS * mean @ F.normalize(w, dim=-1).T, values[:, i],
                                   ignore_index=-1) for i, w in enumerate(self.kinds)) / len(self.kinds)


class Stage:
    NAME = "model"

    def __init__(self, a):
        self.a = a
        torch.set_num_threads(a.threads)
        torch.manual_seed(a.seed)
        self.run = common.Run(a.run, self.NAME, vars(a))
        settings = {k: getattr(a, k) for k in ("dim", "ffn_dim", "num_heads", "num_layers", "window")}
        state = self.run.load() or self.beginning()
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
        self.words = Words(self.settings.dim).to(a.device)
        if state and "words" in state:
            self.words.load_state_dict(state["words"])
        self.words_optimiser = torch.optim.Adam(self.words.parameters(), lr=3e-3)
        self.optimiser = optim.Optimiser(self.model, a.lr, weight_decay=0.02)
        if state and "optimiser" in state and not a.restart:
            self.optimiser.load_state_dict(state["optimiser"])
        self.data = [Data(a.run, pictures, self.settings.window, a.seed + self.step + i)
                     for i, pictures in enumerate(a.pictures)]
        torch.manual_seed(a.seed + self.step)

    def beginning(self):
        """The state before the first step, None for a random one."""
        return None

    def target(self, flow, seen, t, captions, order, layout):
        """What the transformer shall give: `flow` [B, noisy, ...] is that of the data. It sees `seen`
        [B, clean and noisy, ...] at the times t; blocks order[i] of the captions are what each is told."""
        return flow

    def save(self):
        self.run.save(model=self.model.state_dict(), ema=self.ema.model.state_dict(), step=self.step,
                      settings={k: v for k, v in self.settings.__dict__.items()},
                      optimiser=self.optimiser.state_dict(), words=self.words.state_dict())

    def words_loss(self, count=64):
        """Of fresh captions."""
        rng, captions = self.data[0].rng, []
        values = torch.full((count, len(world.KINDS)), -1)
        for i in range(count):
            seed = int(rng.integers(1 << 62))
            attributes = world.scene(seed).first
            captions.append(world.caption(attributes, seed))
            for kind in world.told(attributes, seed):
                values[i, world.KINDS.index(kind)] = getattr(attributes, kind)
            if rng.random() < DISTURBED:
                captions[i] = text.disturbed(captions[i], rng)
        ids = self.tokenizer(captions).to(self.a.device)
        context = self.model["transformer"].text_embedding(self.model["text"](ids))
        return self.words(context, (ids != 0).float(), values.to(self.a.device))

    def layout(self, d, clean, noisy, x):
        key = d, tuple(clean), tuple(noisy)
        if key not in self.layouts:
            self.layouts[key] = m.Layout(self.settings, clean, noisy, x.shape[-2] // 2,
                                         x.shape[-1] // 2, d.length)
        return self.layouts[key]

    def noised(self, x, most, rng):
        """Every block of x [B, N, ...] with up to `most` noise of its own; levels [B, N]."""
        level = torch.from_numpy(rng.random(x.shape[:2])).float().to(x.device) * most
        s = level[:, :, None, None, None, None]
        return (1 - s) * x + s * torch.randn_like(x), level

    @torch.no_grad()
    def resampled(self, d, x, embeds):
        """Clean blocks with the mistakes that the model makes: each made again from itself with noise and
        from the clean blocks before it. x [B, N, ...], embeds [B, N, ...]."""
        clean = list(range(x.shape[1]))
        again, level = self.noised(x, RESAMPLE, d.rng)
        t = torch.cat([torch.zeros_like(level[:, 1:]), 1000 * level], 1)
        flow = self.model["transformer"](torch.cat([x[:, :-1], again], 1), t,
                                         torch.cat([embeds[:, :-1], embeds], 1),
                                         self.layout(d, clean[:-1], clean, x))
        return again - level[:, :, None, None, None, None] * flow[:, x.shape[1] - 1:].float()

    def loss(self, d, size, start):
        """The loss of a batch of `d`, and the mean square error inside things alone."""
        a = self.a
        x, cover, captions, counts = d.batch(size, start)
        x, cover, counts = (v.to(a.device) for v in (x, cover, counts))
        b, n = x.shape[:2]
        noisy = list(range(0 if start else d.context, n)) * (a.draws if d.context else 1)
        clean = list(range(n - 1))
        embeds = encode_captions(self.model["text"], self.tokenizer, captions, a.device)
        context = x[:, clean]
        if clean and d.rng.random() < a.resample:
            context = self.resampled(d, context, embeds[:, clean].detach())
        context, _ = self.noised(context, CONTEXT_NOISE, d.rng)
        sigma = noise_levels((b, len(noisy)), d.rng).to(a.device)
        s = sigma[:, :, None, None, None, None]
        noise = torch.randn_like(x[:, noisy])
        t = torch.cat([torch.zeros(b, len(clean), device=a.device), 1000 * sigma], 1)
        seen = torch.cat([context, (1 - s) * x[:, noisy] + s * noise], 1)
        layout = self.layout(d, clean, noisy, x)
        flow = self.model["transformer"](seen, t, embeds[:, clean + noisy], layout)
        target = self.target(noise - x[:, noisy], seen, t, captions, clean + noisy, layout)
        error = (flow[:, len(clean):].float() - target).square().mean(3)
        inside = counts[:, noisy, None, None, None].float() * cover[:, noisy]
        weight = counts[:, noisy, None, None, None].float() + a.thing_weight * inside
        things = (error.detach() * inside).sum() / inside.sum().clamp_min(1)
        return (error * weight).sum() / weight.sum().clamp_min(1), things

    def train(self):
        a = self.a
        self.layouts = {}
        budget, began = common.Budget(a.steps, a.minutes * 60), self.step
        sums, things, told, rng = {}, [], [], np.random.default_rng(a.seed + began)
        while budget.share(self.step) < 1:
            rate = common.learning_rate(int(budget.share(self.step) * 10000), 10000, a.lr, 0)
            rate *= min(1.0, (self.step - began + 1) / a.warm_up)
            kind = int(rng.integers(len(self.data)))
            d = self.data[kind]
            start = d.blocks == 1 or d.rng.random() < 0.4
            loss, thing = self.loss(d, a.batch[kind], start)
            words = self.words_loss() if a.words_weight and self.step % WORDS_EVERY == 0 else None
            self.optimiser.zero_grad()
            self.words_optimiser.zero_grad()
            (loss if words is None else loss + a.words_weight * words).backward()
            norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            if torch.isfinite(norm):
                self.optimiser.step(rate)
                if words is not None:
                    self.words_optimiser.step()
                self.ema.update(self.model, self.step)
            self.step += 1
            name = {1: "still", 9: "opening"}.get(d.pictures, "start" if start else "middle")
            sums.setdefault(name, []).append(loss.item())
            things.append(thing.item())
            if words is not None:
                told.append(words.item())
            if self.step % a.report == 0:
                means = {name: float(np.mean(v)) for name, v in
                         [*sums.items(), ("things", things), ("words", told)] if v}
                self.run.report(step=self.step, clips=len(d.scenes), **means, norm=norm.item(), lr=rate)
                sums, things, told = {}, [], []
                for each in self.data:
                    each.reload()
            if self.step % (10 * a.report) == 0:
                self.save()
        self.save()
        self.run.report(step=self.step, final=1)


def arguments(doc):
    p = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--run", required=True)
    p.add_argument("--dim", type=int, default=192)
    p.add_argument("--ffn-dim", type=int, default=768)
    p.add_argument("--num-heads", type=int, default=3)
    p.add_argument("--num-layers", type=int, default=6)
    p.add_argument("--window", type=int, default=9)
    p.add_argument("--batch", type=int, nargs="+", default=[4], help="for each of --pictures")
    p.add_argument("--pictures", type=int, nargs="+", default=[encode.PICTURES],
                   help="of a clip: 1, 9 or 93; of several, each step takes one at random")
    p.add_argument("--draws", type=int, default=2,
                   help="of noise for a block of a video; what is before it is computed once for all")
    p.add_argument("--thing-weight", type=float, default=4, help="of what the thing covers, beside 1")
    p.add_argument("--words-weight", type=float, default=0.3, help="of telling attributes apart by text")
    p.add_argument("--resample", type=float, default=0.5,
                   help="share of batches whose clean blocks carry the model's own mistakes")
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
    return p


if __name__ == "__main__":
    Stage(arguments(__doc__).parse_args()).train()
