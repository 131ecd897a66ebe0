"""Stage 1: the VAE on rendered clips.

    python3 tools/train/train_vae.py --run RUN --minutes 40

L1 of pictures and of their gradients, more where the thing is, which most crops are to show; latents
get noise and are held small, so that the decoder forgives what the transformer does not get exactly
right. With --decoder-only latents stay what they are, and with them all that was encoded and trained;
clips of 21 pictures then teach it how a latent frame follows another far from the beginning, where
differences between pictures must not show which of them share one. Each clip then has noise of its own
level, none to --noise: what the transformer makes has errors that are new in every latent frame, and
only a decoder that has seen such errors takes them out over the four pictures of each.
"""
import argparse
import pathlib

import numpy as np
import torch

import common
import export
import optim
import vae
import world

def corner(rng, covered, width, height, aimed):
    """Where a crop begins, row and column, in pictures that show the thing where covered [h, w] says: a share of
    `aimed` are around it. Multiples of 8, as latents lie."""
    steps = [(whole - part) // 8 for whole, part in zip(covered.shape, (height, width))]
    y, x = (int(rng.integers(0, n + 1)) * 8 for n in steps)
    seen = np.argwhere(covered > 0.5)
    if len(seen) and rng.random() < aimed:
        middle = seen[rng.integers(len(seen))] - (height // 2, width // 2)
        y, x = (8 * int(np.clip(m // 8 + rng.integers(-1, 2), 0, n)) for m, n in zip(middle, steps))
    return y, x


def clips(rng, count, pictures, width, height, whole, aimed=0.0):
    """Pictures [count, pictures, 3, height, width] in [-1, 1], crops of those of `whole` size, and what
    the thing covers [count, pictures, 1, height, width]. A share of `aimed` are crops around the thing."""
    out = np.empty((count, pictures, height, width, 3), np.uint8)
    cover = np.empty((count, pictures, height, width), np.float32)
    for i in range(count):
        s = world.scene(int(rng.integers(1 << 62)), changes=rng.random() < 0.15, pictures=93)
        first = 4 * int(rng.integers(0, 20))  # latent frames begin where they do in whole videos
        if s.change >= 0:
            first = max(0, (s.change + int(rng.integers(-4, 8))) // 4 * 4)
        full, covered = (f(s, first, pictures, *whole) for f in (world.render, world.cover))
        y, x = corner(rng, covered[pictures // 2], width, height, aimed)
        out[i] = full[:, y:y + height, x:x + width]
        cover[i] = covered[:, y:y + height, x:x + width]
    return (torch.from_numpy(out).permute(0, 1, 4, 2, 3).float() / 127.5 - 1,
            torch.from_numpy(cover).unsqueeze(2))


def difference(y, x, cover, motion_weight):
    """The loss of pictures y [B, 1 + 4 n, 3, H, W] that shall be x, in [-1, 1], and the mean of |y - x|."""
    d = y - x
    weight = 1 + 2 * cover
    flat = (weight * d.abs()).mean()
    edges = (weight[..., 1:] * (d[..., 1:] - d[..., :-1]).abs()).mean() + \
        (weight[..., 1:, :] * (d[..., 1:, :] - d[..., :-1, :]).abs()).mean()
    motion = 0
    if d.shape[1] > 1:
        # The root of the mean square over the four pictures of a latent frame, so that an error that comes
        # with a latent frame costs half if it comes little by little; on average it would cost the same.
        # Things count more still: what moves slowly moves by a part of a pixel, and else only where a latent
        # frame begins.
        thing = torch.maximum(cover[:, 1:], cover[:, :-1]).unflatten(1, (-1, 4)).amax(2)
        motion = (d[:, 1:] - d[:, :-1]).unflatten(1, (-1, 4)).square().mean(2).add(1e-8).sqrt()
        motion = ((1 + 8 * thing) * motion).mean()
    return flat + 0.5 * edges + motion_weight * motion + 2 * (weight * d.square()).mean(), flat


def loss_of(model, x, cover, dtype, noise, motion_weight):
    """noise: the deviation of what is added to latents, of a shape that they can be multiplied with."""
    mu, _ = model.encode(x.to(dtype))
    z = mu.float() + noise * torch.randn_like(mu, dtype=torch.float32)
    loss, flat = difference(model.decode(z.to(dtype)).float(), x, cover, motion_weight)
    size = mu.float().square().mean()
    return loss + 1e-3 * size, flat, size


@torch.no_grad()
def evaluate(again, size, count=12):
    """PSNR in dB over unseen whole scenes, and pairs of pictures to look at. again(x): the pictures x, encoded and
    decoded, both in [-1, 1]."""
    rng = np.random.default_rng(99)
    error, rows = [], []
    for _ in range(count):
        x, _ = clips(rng, 1, 17, *size, size)
        y = again(x).clamp(-1, 1)
        error.append(((x - y) / 2).square().mean().item())
        both = torch.stack([x[0, 0], y[0, 0], x[0, 11], y[0, 11]])
        rows.append((both.permute(0, 2, 3, 1).numpy() + 1) / 2)
    return float(np.mean([-10 * np.log10(e) for e in error])), np.stack(rows)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--run", required=True)
    p.add_argument("--dim", type=int, default=16)
    p.add_argument("--size", default="160x96")
    p.add_argument("--crop", default="96x96")
    p.add_argument("--batch", type=int, default=4)
    p.add_argument("--pictures", type=int, default=9, help="a clip; 1: stills, to begin with")
    p.add_argument("--noise", type=float, default=0.1, help="of latents, which the decoder is to forgive; "
                   "with --decoder-only the most, in deviations of latents")
    p.add_argument("--motion-weight", type=float, default=0.25, help="of differences between pictures")
    p.add_argument("--decoder-only", action="store_true", help="leave the encoder as it is")
    p.add_argument("--steps", type=int, default=20000)
    p.add_argument("--minutes", type=float, default=0, help="instead of --steps")
    p.add_argument("--lr", type=float, default=1e-3)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--device", default="cpu")
    p.add_argument("--report", type=int, default=50)
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    size, crop = (tuple(map(int, s.split("x"))) for s in (a.size, a.crop))
    run = common.Run(a.run, "vae", vars(a))
    torch.manual_seed(a.seed)
    model = vae.VAE(a.dim).to(a.device)
    start = 0
    state = run.load()
    if state:
        # what encodes is the mean of weights
        model.load_state_dict(state["ema" if a.decoder_only else "model"])
        start = state["step"]
        if a.pictures > 1 and state.get("pictures", 1) == 1:
            vae.inflate(model)
            state = None  # of the optimiser and of the mean weights
    for part in (model.encoder, model.conv1):
        part.requires_grad_(not a.decoder_only)
    ema = common.EMA(model, 0.998)
    if state:
        ema.model.load_state_dict(state["ema"])
    optimiser = optim.Optimiser(model, a.lr)
    if state and "optimiser" in state:
        optimiser.load_state_dict(state["optimiser"])
    rng = np.random.default_rng(a.seed + start)
    torch.manual_seed(a.seed + start)
    budget = common.Budget(a.steps, a.minutes * 60)
    dtype = torch.bfloat16
    deviation = export.statistics_of(pathlib.Path(a.run))[1].view(-1, 1, 1) if a.decoder_only else None

    def again(x):
        return ema.model.decode(ema.model.encode(x.to(a.device, dtype))[0]).float().cpu()

    sums, step = [], start
    while budget.share(step) < 1:
        rate = common.learning_rate(int(budget.share(step) * 10000), 10000, a.lr)
        if step - start < 100:
            rate *= (step - start + 1) / 100
        if a.pictures == 1:
            x, cover = clips(rng, 5 * a.batch, 1, *crop, size, 0.6)
        else:
            x, cover = clips(rng, a.batch, a.pictures, *crop, size, 0.6)
        noise = a.noise * (torch.rand(len(x), 1, 1, 1, 1) * deviation if a.decoder_only else torch.ones(()))
        loss, flat, latent = loss_of(model, x.to(a.device), cover.to(a.device), dtype, noise.to(a.device),
                                     a.motion_weight)
        optimiser.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if torch.isfinite(norm):
            optimiser.step(rate)
            ema.update(model, step)
        step += 1
        sums.append((loss.item(), flat.item(), latent.item()))
        if step % a.report == 0:
            mean = np.mean(sums[-a.report:], 0)
            run.report(step=step, loss=float(mean[0]), l1=float(mean[1]), latent=float(mean[2]),
                       lr=rate)
        if step % (10 * a.report) == 0:
            psnr, sheet = evaluate(again, size)
            run.report(step=step, psnr=psnr)
            run.sheet("pairs", sheet)
            run.save(model=model.state_dict(), ema=ema.model.state_dict(), step=step, dim=a.dim,
                     pictures=a.pictures, optimiser=optimiser.state_dict())
    psnr, sheet = evaluate(again, size, 24)
    run.report(step=step, psnr=psnr, final=1)
    run.sheet("pairs", sheet)
    run.save(model=model.state_dict(), ema=ema.model.state_dict(), step=step, dim=a.dim,
             pictures=a.pictures, optimiser=optimiser.state_dict())


if __name__ == "__main__":
    main()
