"""The causal video VAE in PyTorch, with the names and the arithmetic of Wan2.1_VAE.pth.

Tensors are [B, T, C, H, W]. A clip of 1 + 4 n pictures gives 1 + n latent frames. What the engine
does as a stream (history in front of every convolution) is done here for whole clips: zeros before
the first frame, and the first frame apart where time is halved or doubled.

A 3x3x3 convolution is computed as one 2-D convolution over the frame and the two before it, stacked
along the channels: the same sums, several times as fast as conv3d on a CPU.
"""
import math
import os
import pathlib

import torch
import torch.nn as nn
import torch.nn.functional as F

import fused

LATENT_CHANNELS = 16
MEAN = [-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
        0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921]
STD = [2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
       3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160]


# Without AMX, oneDNN 2.6 takes up to 40 times as long for the gradient of weights in bf16 as in f32.
HAS_AMX = os.path.exists("/proc/cpuinfo") and "amx_bf16" in pathlib.Path("/proc/cpuinfo").read_text()


def convolve(x, weight, bias, stride=(1, 1), padding=(0, 0)):
    """conv2d in the type of x."""
    if x.dtype == torch.bfloat16 and x.device.type == "cpu" and not HAS_AMX:
        return F.conv2d(x.float(), weight, bias, stride, padding).bfloat16()
    return F.conv2d(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype), stride, padding)


def each_frame(f, x):
    """f on [B * T, C, H, W]."""
    b, t = x.shape[:2]
    y = f(x.flatten(0, 1).contiguous(memory_format=torch.channels_last))
    return y.unflatten(0, (b, t))


def with_history(x, frames):
    """Each frame with the `frames` before it, oldest first, along the channels."""
    b, t, c, h, w = x.shape
    past = x.new_zeros(b, frames, c, h, w)
    padded = torch.cat([past, x], 1)
    return torch.cat([padded[:, i:i + t] for i in range(frames + 1)], 2)


class CausalConv(nn.Module):
    """Conv3d with kernel (kt, k, k), zeros before the first frame."""

    def __init__(self, ci, co, kt, k):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(co, ci, kt, k, k))
        self.bias = nn.Parameter(torch.zeros(co))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def kernel(self):  # [Co, kt * Ci, k, k]
        w = self.weight.transpose(1, 2)
        return w.reshape(w.shape[0], -1, *w.shape[3:]).contiguous(memory_format=torch.channels_last)

    def stacked(self, f):
        """f [B * T, kt * Ci, H, W]: frames with their history."""
        pad = self.weight.shape[3] // 2
        return convolve(f, self.kernel(), self.bias, padding=(pad, pad))

    def forward(self, x):
        kt = self.weight.shape[2]
        return each_frame(self.stacked, with_history(x, kt - 1) if kt > 1 else x)


def norm_silu_conv(norm, conv, x):
    """conv(SiLU(norm(x))), in one pass before the convolution where that is possible."""
    if x.dtype != torch.bfloat16 or x.device.type != "cpu":
        return conv(F.silu(norm(x)))
    b, t = x.shape[:2]
    f = fused.NormSiluStack.apply(x.flatten(0, 1), norm.gamma.flatten(), b, conv.weight.shape[2])
    return conv.stacked(f).unflatten(0, (b, t))


class RMSNorm(nn.Module):
    """Over channels. `dims` is only how the file stores the gain."""

    def __init__(self, c, dims=3):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(c, *[1] * dims))

    def forward(self, x):  # channels are dimension -3
        c = x.shape[-3]
        scale = x.float().square().mean(-3, keepdim=True).clamp_min(1e-12).rsqrt()
        return x * (scale * self.gamma.reshape(c, 1, 1)).to(x.dtype)


class Residual(nn.Module):
    def __init__(self, ci, co):
        super().__init__()
        self.residual = nn.Sequential(RMSNorm(ci), nn.SiLU(), CausalConv(ci, co, 3, 3),
                                      RMSNorm(co), nn.SiLU(), nn.Identity(),
                                      CausalConv(co, co, 3, 3))
        self.shortcut = CausalConv(ci, co, 1, 1) if ci != co else nn.Identity()

    def forward(self, x):
        r = self.residual
        y = norm_silu_conv(r[0], r[2], x)
        return self.shortcut(x) + norm_silu_conv(r[3], r[6], y)


def conv2d(conv, f):
    return convolve(f, conv.weight, conv.bias, conv.stride, conv.padding)


class Attention(nn.Module):
    """Inside each frame, one head."""

    def __init__(self, c):
        super().__init__()
        self.norm = RMSNorm(c, 2)
        self.to_qkv = nn.Conv2d(c, 3 * c, 1)
        self.proj = nn.Conv2d(c, c, 1)
        nn.init.zeros_(self.proj.weight)

    def inside(self, x):
        n, c, h, w = x.shape
        q, k, v = conv2d(self.to_qkv, self.norm(x)).flatten(2).transpose(1, 2).chunk(3, -1)
        score = torch.bmm(q, k.transpose(1, 2)).float() / math.sqrt(c)
        y = torch.bmm(score.softmax(-1).to(v.dtype), v)
        return conv2d(self.proj, y.transpose(1, 2).reshape(n, c, h, w))

    def forward(self, x):
        return x + each_frame(self.inside, x)


class Upsample(nn.Module):
    def __init__(self, c, time):
        super().__init__()
        self.resample = nn.Sequential(nn.Identity(), nn.Conv2d(c, c // 2, 3, padding=1))
        if time:
            self.time_conv = CausalConv(c, 2 * c, 3, 1)

    def forward(self, x):
        if hasattr(self, "time_conv") and x.shape[1] > 1:
            y = self.time_conv(x[:, 1:])  # the first frame is not part of its past
            b, t, c, h, w = y.shape
            x = torch.cat([x[:, :1], y.reshape(b, 2 * t, c // 2, h, w)], 1)

        def space(f):
            if f.dtype == torch.bfloat16 and f.device.type == "cpu":
                return conv2d(self.resample[1], fused.BlowUp.apply(f))
            return conv2d(self.resample[1], F.interpolate(f, scale_factor=2, mode="nearest"))
        return each_frame(space, x)


class Downsample(nn.Module):
    def __init__(self, c, time):
        super().__init__()
        self.resample = nn.Sequential(nn.Identity(), nn.Conv2d(c, c, 3, stride=2))
        if time:
            self.time_conv = CausalConv(c, c, 3, 1)

    def forward(self, x):
        x = each_frame(lambda f: conv2d(self.resample[1], F.pad(f, (0, 1, 0, 1))), x)
        if hasattr(self, "time_conv") and x.shape[1] > 1:
            taps = torch.cat([x[:, 0:-2:2], x[:, 1:-1:2], x[:, 2::2]], 2)
            y = each_frame(self.time_conv.stacked, taps)
            x = torch.cat([x[:, :1], y], 1)
        return x


class Encoder(nn.Module):
    def __init__(self, dim, mult=(1, 2, 4, 4)):
        super().__init__()
        width = [dim * m for m in (1,) + tuple(mult)]
        self.conv1 = CausalConv(3, width[0], 3, 3)
        down = []
        for i in range(4):
            down += [Residual(width[i], width[i + 1]), Residual(width[i + 1], width[i + 1])]
            if i < 3:
                down += [Downsample(width[i + 1], i > 0)]
        self.downsamples = nn.Sequential(*down)
        c = width[-1]
        self.middle = nn.Sequential(Residual(c, c), Attention(c), Residual(c, c))
        self.head = nn.Sequential(RMSNorm(c), nn.SiLU(), CausalConv(c, 2 * LATENT_CHANNELS, 3, 3))

    def forward(self, x):
        x = self.middle(self.downsamples(self.conv1(x)))
        return norm_silu_conv(self.head[0], self.head[2], x)


class Decoder(nn.Module):
    def __init__(self, dim, mult=(1, 2, 4, 4)):
        super().__init__()
        width = [dim * m for m in (mult[-1],) + tuple(mult[::-1])]
        c = width[0]
        self.conv1 = CausalConv(LATENT_CHANNELS, c, 3, 3)
        self.middle = nn.Sequential(Residual(c, c), Attention(c), Residual(c, c))
        up = []
        for i in range(4):
            ci = width[i] if i == 0 else width[i] // 2  # a resampler halves the width
            up += [Residual(ci, width[i + 1]), Residual(width[i + 1], width[i + 1]),
                   Residual(width[i + 1], width[i + 1])]
            if i < 3:
                up += [Upsample(width[i + 1], i < 2)]
        self.upsamples = nn.Sequential(*up)
        self.head = nn.Sequential(RMSNorm(width[-1]), nn.SiLU(), CausalConv(width[-1], 3, 3, 3))

    def forward(self, x):
        x = self.upsamples(self.middle(self.conv1(x)))
        return norm_silu_conv(self.head[0], self.head[2], x)


class VAE(nn.Module):
    """Pictures [B, 1 + 4 n, 3, H, W] in [-1, 1]; latents [B, 1 + n, 16, H / 8, W / 8]."""

    def __init__(self, dim):
        super().__init__()
        self.encoder, self.decoder = Encoder(dim), Decoder(dim)
        self.conv1 = CausalConv(2 * LATENT_CHANNELS, 2 * LATENT_CHANNELS, 1, 1)
        self.conv2 = CausalConv(LATENT_CHANNELS, LATENT_CHANNELS, 1, 1)

    def encode(self, pictures):
        """mu and log variance, as the file's weights give them."""
        return self.conv1(self.encoder(pictures)).chunk(2, 2)

    def decode(self, z):
        return self.decoder(self.conv2(z))


@torch.no_grad()
def inflate(vae):
    """From stills to clips: frames see nothing of those before them yet, and time is halved and
    doubled by taking and repeating frames."""
    for m in vae.modules():
        if isinstance(m, CausalConv) and m.weight.shape[2] == 3:
            if m.weight.shape[3] == 3:
                m.weight[:, :, :2] = 0
            else:  # [C or 2 C, C, 3, 1, 1]
                c = m.weight.shape[1]
                m.weight.mul_(0.02)
                m.bias.zero_()
                for i in range(m.weight.shape[0]):
                    m.weight[i, i % c, 2, 0, 0] += 1


def normalise(mu):
    """Latents as the transformer sees them."""
    mean, std = (mu.new_tensor(v).reshape(-1, 1, 1) for v in (MEAN, STD))
    return (mu - mean) / std


def denormalise(z):
    mean, std = (z.new_tensor(v).reshape(-1, 1, 1) for v in (MEAN, STD))
    return z * std + mean


def fold_statistics(vae, mean, std):
    """Makes normalised latents have mean 0 and deviation 1, given the mean and deviation [16] of mu
    now: an affine map goes into the two 1x1x1 convolutions."""
    with torch.no_grad():
        target_mean, target_std = mean.new_tensor(MEAN), mean.new_tensor(STD)
        a = target_std / std
        b = target_mean - a * mean
        n = LATENT_CHANNELS
        vae.conv1.weight[:n] *= a.reshape(-1, 1, 1, 1, 1)
        vae.conv1.bias[:n] = vae.conv1.bias[:n] * a + b
        weight = vae.conv2.weight / a.reshape(1, -1, 1, 1, 1)
        vae.conv2.bias -= (weight[:, :, 0, 0, 0] @ b)
        vae.conv2.weight.copy_(weight)
