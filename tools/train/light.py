"""The decoder of TAEHV (O. Boer Bohan) in PyTorch, with the names and the arithmetic of taew2_1.

A small 2-D network; a block remembers one frame. Latents [B, T, 16, H, W] as the transformer makes them
give pictures [B, 4 T - 3, 3, 8 H, 8 W] in [0, 1]: of the first latent frame only the last counts.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

import fused
from vae import LATENT_CHANNELS, conv2d, each_frame

WIDTHS = 96, 80, 32, 16  # at an eighth, a quarter, half and all of the pictures' size
GROW = 1, 2, 2           # pictures from one, behind the blocks of a size
DROPPED = 3


def conv(ci, co, k=3, bias=True):
    return nn.Conv2d(ci, co, k, padding=k // 2, bias=bias)


class Clamp(nn.Module):
    def forward(self, x):
        return 3 * torch.tanh(x / 3)


class MemBlock(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv = nn.Sequential(conv(2 * c, c), nn.ReLU(), conv(c, c), nn.ReLU(), conv(c, c))

    def forward(self, x):  # [B, T, C, H, W]
        past = torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1)

        def inside(f):
            for i in (0, 2):
                f = F.relu(conv2d(self.conv[i], f))
            return conv2d(self.conv[4], f)
        return F.relu(x + each_frame(inside, torch.cat([x, past], 2)))


class Grow(nn.Module):
    def __init__(self, c, stride):
        super().__init__()
        self.conv = conv(c, stride * c, 1, False)

    def forward(self, x):
        b, t, c, h, w = x.shape
        return each_frame(lambda f: conv2d(self.conv, f), x).reshape(b, -1, c, h, w)


class Upsample(nn.Module):
    def forward(self, x):
        if x.dtype == torch.bfloat16 and x.device.type == "cpu":
            return each_frame(fused.BlowUp.apply, x)
        return each_frame(lambda f: F.interpolate(f, scale_factor=2, mode="nearest"), x)


class Light(nn.Module):
    def __init__(self, widths=WIDTHS):
        super().__init__()
        layers = [Clamp(), conv(LATENT_CHANNELS, widths[0]), nn.ReLU()]
        for c, out, stride in zip(widths, widths[1:], GROW):
            layers += [MemBlock(c), MemBlock(c), MemBlock(c), Upsample(), Grow(c, stride),
                       conv(c, out, 3, False)]
        layers += [nn.ReLU(), conv(widths[-1], 3)]
        self.decoder = nn.Sequential(*layers)

    def decode(self, z, dtype=torch.bfloat16):
        """Pictures, not clamped to [0, 1]."""
        x = self.decoder[0](z).to(dtype)
        for i, layer in enumerate(self.decoder[1:], 1):
            if isinstance(layer, nn.Conv2d):
                x = each_frame(lambda f: conv2d(layer, f), x)
            elif isinstance(layer, Upsample):
                x = layer(self.decoder[i + 1](x))  # a 1x1 convolution does not care which is first
            elif not isinstance(layer, Grow):
                x = layer(x)
        return x[:, DROPPED:].float()
