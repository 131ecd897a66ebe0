"""The light decoder on the latents that the transformer learnt from.

    python3 tools/train/train_light.py --run RUN --minutes 40

Whatever VAE made the latents: this decoder learns from them and the pictures of their scenes. The losses
are those of train_vae.py, and every clip has noise of its own level.
"""
import argparse

import numpy as np
import torch

import common
import encode
import light
import optim
import train_vae
import vae
import world


class Data:
    def __init__(self, folder):
        self.latents, self.scenes = encode.Clips(folder).open()
        self.mean, self.std = (v.view(-1, 1, 1) for v in encode.statistics(self.latents))
        self.height, self.width = (8 * n for n in self.latents.shape[-2:])

    def clip(self, rng, count, height, width, aimed=0.6):
        """A crop of `count` latent frames [count, 16, h, w], the pictures [1 + 4 (count - 1), 3, ..] of all
        but the first three, and what the thing covers. A share of `aimed` are around the thing."""
        i = int(rng.integers(len(self.latents)))
        first = int(rng.integers(self.latents.shape[1] - count + 1))
        s, pictures = self.scenes[i], 1 + 4 * (count - 1)
        x, cover = (f(s, 4 * first, pictures, self.width, self.height) for f in (world.render, world.cover))
        y0, x0 = train_vae.corner(rng, cover[pictures // 2], width, height, aimed)
        area = np.s_[:, y0:y0 + height, x0:x0 + width]
        z = self.latents[i, first:first + count, :, y0 // 8:(y0 + height) // 8, x0 // 8:(x0 + width) // 8]
        z = torch.from_numpy(np.asarray(z, np.float32))
        return ((z - self.mean) / self.std,
                torch.from_numpy(x[area].copy()).permute(0, 3, 1, 2).float() / 127.5 - 1,
                torch.from_numpy(cover[area].copy()).unsqueeze(1))

    def batch(self, rng, size, *shape):
        return (torch.stack(v) for v in zip(*(self.clip(rng, *shape) for _ in range(size))))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--run", required=True)
    p.add_argument("--crop", default="64x64")
    p.add_argument("--batch", type=int, default=4)
    p.add_argument("--latents", type=int, default=5, help="latent frames of a clip")
    p.add_argument("--noise", type=float, default=0.15, help="the most, in deviations of latents")
    p.add_argument("--motion-weight", type=float, default=1)
    p.add_argument("--steps", type=int, default=10000)
    p.add_argument("--minutes", type=float, default=0, help="instead of --steps")
    p.add_argument("--lr", type=float, default=2e-3)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--device", default="cpu")
    p.add_argument("--report", type=int, default=50)
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    width, height = map(int, a.crop.split("x"))
    run = common.Run(a.run, "light", vars(a))
    data = Data(a.run)
    torch.manual_seed(a.seed)
    model = light.Light().to(a.device)
    optimiser = optim.Optimiser(model, a.lr)
    ema = common.EMA(model, 0.998)
    state, start = run.load(), 0
    if state:
        start = state["step"]
        model.load_state_dict(state["model"])
        ema.model.load_state_dict(state["ema"])
        optimiser.load_state_dict(state["optimiser"])
    teacher = torch.load(run.folder / "vae.pt", map_location="cpu")
    encoder = vae.VAE(teacher["dim"]).requires_grad_(False)
    encoder.load_state_dict(teacher["ema"])
    rng = np.random.default_rng(a.seed + start)
    torch.manual_seed(a.seed + start)

    def again(x):
        z = vae.normalise(encoder.encode(x.bfloat16())[0].float())
        return ema.model.decode(((z - data.mean) / data.std).to(a.device)).cpu() * 2 - 1

    def report(final):
        psnr, sheet = train_vae.evaluate(again, (data.width, data.height), 24 if final else 12)
        run.report(step=step, psnr=psnr, **({"final": 1} if final else {}))
        run.sheet("pairs", sheet)
        run.save(model=model.state_dict(), ema=ema.model.state_dict(), step=step,
                 optimiser=optimiser.state_dict())

    budget, step, sums = common.Budget(a.steps, a.minutes * 60), start, []
    while budget.share(step) < 1:
        rate = common.learning_rate(int(budget.share(step) * 10000), 10000, a.lr)
        rate *= min(1, (step - start + 1) / 100)
        z, x, cover = (v.to(a.device) for v in data.batch(rng, a.batch, a.latents, height, width))
        z = z + a.noise * torch.rand(a.batch, 1, 1, 1, 1, device=a.device) * torch.randn_like(z)
        loss, flat = train_vae.difference(2 * model.decode(z) - 1, x, cover, a.motion_weight)
        optimiser.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if torch.isfinite(norm):
            optimiser.step(rate)
            ema.update(model, step)
        step += 1
        sums.append((loss.item(), flat.item()))
        if step % a.report == 0:
            mean = np.mean(sums[-a.report:], 0)
            run.report(step=step, loss=float(mean[0]), l1=float(mean[1]), lr=rate)
        if step % (10 * a.report) == 0:
            report(False)
    report(True)


if __name__ == "__main__":
    main()
