"""The umT5 encoder and the causal transformer in PyTorch, with the names and the arithmetic of the
published files, for training by teacher forcing.

A clip is cut into blocks of BLOCK latent frames. Its clean blocks are what the KV cache will hold;
each noisy block sees itself and the clean blocks before it, as far as the window reaches. All blocks
of a clip are trained at once: the sequence is the clean blocks, then the noisy ones.
"""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

import fused

BLOCK = 3
LATENT_CHANNELS = 16


class Settings:
    """Shapes of the shipped model."""

    def __init__(self, dim=192, ffn_dim=768, num_heads=3, num_layers=6, freq_dim=256, text_len=48,
                 text_dim=128, text_ffn=256, text_heads=4, text_layers=3, vocab=1000, window=9):
        self.__dict__.update({k: v for k, v in locals().items() if k != "self"})


def linear(layer, x, dtype):
    """In the type of the matrix products, result in the same type."""
    bias = layer.bias.to(dtype) if layer.bias is not None else None
    return F.linear(x.to(dtype), layer.weight.to(dtype), bias)


class RMSNorm(nn.Module):
    def __init__(self, dim, eps=1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x):
        x = x.float()
        return x * (x.square().mean(-1, keepdim=True) + self.eps).rsqrt() * self.weight


def is_fused(x, dtype):
    return dtype == torch.bfloat16 and x.device.type == "cpu"


def modulated(x, scale, shift, offset, dtype):
    """LN(x) * (offset + scale) + shift; x [B, N, L, C], scale and shift [B, N, C] or [C]."""
    c = x.shape[-1]
    if is_fused(x, dtype):
        groups = scale.numel() // c
        y = fused.LayerNorm.apply(x.reshape(groups, -1, c), scale.reshape(groups, c),
                                  shift.reshape(groups, c), offset)
        return y.view_as(x)
    if scale.ndim > 1:
        scale, shift = scale.unsqueeze(2), shift.unsqueeze(2)
    return F.layer_norm(x, (c,), eps=1e-6) * (offset + scale) + shift


def gated(x, y, gate, dtype):
    """x + gate * y; gate [B, N, C] or None."""
    if is_fused(x, dtype):
        c = x.shape[-1]
        groups = gate.numel() // c if gate is not None else 1
        return fused.Gated.apply(x.reshape(groups, -1, c), y.reshape(groups, -1, c),
                                 gate.reshape(groups, c) if gate is not None else None).view_as(x)
    return x + (gate.unsqueeze(2) * y if gate is not None else y)


def softmax_of(score, scale, dtype):
    if is_fused(score, dtype):
        return fused.Softmax.apply(score, scale)
    return (score.float() * scale).softmax(-1).to(dtype)


def gelu(x, dtype):
    return fused.Gelu.apply(x) if is_fused(x, dtype) else F.gelu(x, approximate="tanh")


# ---- text ------------------------------------------------------------------------------------------

BUCKETS, MAX_DISTANCE = 32, 128


def position_buckets(length):
    """[length, length]: bidirectional T5 buckets of key - query."""
    d = torch.arange(length)[None, :] - torch.arange(length)[:, None]
    half = BUCKETS // 2
    exact = half // 2
    far = exact + (torch.log(d.abs().clamp_min(1).float() / exact) /
                   math.log(MAX_DISTANCE / exact) * (half - exact)).long()
    return torch.where(d > 0, half, 0) + torch.where(d.abs() < exact, d.abs(), far.clamp_max(half - 1))


class TextBlock(nn.Module):
    def __init__(self, s):
        super().__init__()
        c = s.text_dim
        self.heads = s.text_heads
        self.norm1, self.norm2 = RMSNorm(c), RMSNorm(c)
        self.attn = nn.ModuleDict({n: nn.Linear(c, c, bias=False) for n in "qkvo"})
        self.ffn = nn.ModuleDict({"gate": nn.Sequential(nn.Linear(c, s.text_ffn, bias=False)),
                                  "fc1": nn.Linear(c, s.text_ffn, bias=False),
                                  "fc2": nn.Linear(s.text_ffn, c, bias=False)})
        self.pos_embedding = nn.ModuleDict({"embedding": nn.Embedding(BUCKETS, s.text_heads)})
        nn.init.normal_(self.attn["q"].weight, std=(c * c / s.text_heads) ** -0.5)
        nn.init.normal_(self.pos_embedding["embedding"].weight, std=0.1)

    def forward(self, x, buckets, masked):
        b, n, c = x.shape
        y = self.norm1(x)
        q, k, v = (self.attn[p](y).view(b, n, self.heads, -1).transpose(1, 2) for p in "qkv")
        bias = self.pos_embedding["embedding"](buckets).permute(2, 0, 1)
        score = q @ k.transpose(-1, -2) + bias + masked[:, None, None, :]
        x = x + self.attn["o"]((score.softmax(-1) @ v).transpose(1, 2).reshape(b, n, c))
        y = self.norm2(x)
        gate = F.gelu(self.ffn["gate"][0](y), approximate="tanh")
        return x + self.ffn["fc2"](self.ffn["fc1"](y) * gate)


class TextEncoder(nn.Module):
    """ids [B, text_len], 0 past the end -> [B, text_len, text_dim], 0 past the end. f32."""

    def __init__(self, s):
        super().__init__()
        self.token_embedding = nn.Embedding(s.vocab, s.text_dim)
        self.blocks = nn.ModuleList(TextBlock(s) for _ in range(s.text_layers))
        self.norm = RMSNorm(s.text_dim)

    def forward(self, ids):
        n = max(1, int((ids != 0).sum(1).max()))
        real = ids[:, :n] != 0
        masked = torch.zeros(real.shape, device=ids.device).masked_fill(~real, -1e9)
        buckets = position_buckets(n).to(ids.device)
        x = self.token_embedding(ids[:, :n])
        for block in self.blocks:
            x = block(x, buckets, masked)
        x = self.norm(x) * real[..., None]
        return F.pad(x, (0, 0, 0, ids.shape[1] - n))


# ---- transformer -----------------------------------------------------------------------------------


def timestep_embedding(t, dim):
    """cos half first, then sin."""
    i = torch.arange(dim // 2, dtype=torch.float64, device=t.device)
    angle = t.double()[..., None] * 10000.0 ** (-i / (dim // 2))
    return torch.cat([angle.cos(), angle.sin()], -1).float()


def rotary(frames, height, width, head_dim):
    """(cos, sin) [len(frames) * height * width, head_dim / 2] of absolute positions."""
    pairs = head_dim // 2
    n = pairs // 3
    parts = (pairs - 2 * n, n, n)
    grid = torch.meshgrid(frames.double(), torch.arange(height).double(),
                          torch.arange(width).double(), indexing="ij")
    angle = torch.cat([g.reshape(-1, 1) * 10000.0 ** (-torch.arange(p).double() / p)
                       for g, p in zip(grid, parts)], 1)
    return angle.cos().float(), angle.sin().float()


def turn(x, cos, sin):
    """Adjacent pairs of x [..., L, heads, D]; cos and sin [L, D / 2]."""
    a, b = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = cos[:, None], sin[:, None]
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)


class SelfAttention(nn.Module):
    def __init__(self, s):
        super().__init__()
        c = s.dim
        self.heads = s.num_heads
        self.q, self.k, self.v, self.o = (nn.Linear(c, c) for _ in range(4))
        self.norm_q, self.norm_k = RMSNorm(c), RMSNorm(c)

    def qkv(self, x, dtype):
        w = torch.cat([self.q.weight, self.k.weight, self.v.weight]).to(dtype)
        b = torch.cat([self.q.bias, self.k.bias, self.v.bias]).to(dtype)
        return F.linear(x.to(dtype), w, b).chunk(3, -1)

    def turned(self, norm, x, layout, dtype):
        """Normed and rotated; x [B, N, L, C]."""
        if is_fused(x, dtype):
            return fused.RMSRope.apply(x, norm.weight, layout.cos, layout.sin,
                                       x.shape[-1] // self.heads)
        x = norm(x).unflatten(-1, (self.heads, -1)).flatten(1, 2)
        return turn(x, layout.cos, layout.sin).to(dtype)

    def forward(self, x, layout, dtype):
        """x [B, N, L, C]: N blocks of L tokens; layout says what each sees."""
        b, n, length, c = x.shape
        q, k, v = self.qkv(x, dtype)
        q, k = (self.turned(norm, t, layout, dtype) for norm, t in ((self.norm_q, q), (self.norm_k, k)))
        q, k, v = (t.reshape(b, n, length, self.heads, -1).transpose(2, 3).unbind(1)
                   for t in (q, k, v))
        out = [None] * n
        for blocks, seen in layout.groups:  # blocks that see the same number of blocks
            qs = torch.cat([q[i] for i in blocks]).flatten(0, 1)
            ks, vs = (torch.cat([torch.cat([t[i] for i in row], 2) for row in seen]).flatten(0, 1)
                      for t in (k, v))
            p = softmax_of(torch.bmm(qs, ks.transpose(1, 2)), qs.shape[-1] ** -0.5, dtype)
            y = torch.bmm(p, vs).unflatten(0, (len(blocks), b, self.heads))
            for i, part in zip(blocks, y.unbind(0)):
                out[i] = part
        y = torch.stack(out, 1)
        return linear(self.o, y.transpose(2, 3).reshape(b, n, length, c), dtype)


class CrossAttention(nn.Module):
    def __init__(self, s):
        super().__init__()
        c = s.dim
        self.heads = s.num_heads
        self.q, self.k, self.v, self.o = (nn.Linear(c, c) for _ in range(4))
        self.norm_q, self.norm_k = RMSNorm(c), RMSNorm(c)

    def forward(self, x, text, dtype):
        """x [B, N, L, C]; text [B, N, text_len, C]: each block has its own."""
        b, n, length, c = x.shape
        rows = text.shape[2]
        q, k = linear(self.q, x, dtype), linear(self.k, text, dtype)
        if is_fused(x, dtype):
            q, k = (fused.RMSRope.apply(t, norm.weight, None, None, c // self.heads)
                    for t, norm in ((q, self.norm_q), (k, self.norm_k)))
        else:
            q, k = self.norm_q(q).to(dtype), self.norm_k(k).to(dtype)
        v = linear(self.v, text, dtype)
        q = q.reshape(b * n, length, self.heads, -1).transpose(1, 2).flatten(0, 1)
        k, v = (t.reshape(b * n, rows, self.heads, -1).transpose(1, 2).flatten(0, 1) for t in (k, v))
        y = torch.bmm(softmax_of(torch.bmm(q, k.transpose(1, 2)), q.shape[-1] ** -0.5, dtype), v)
        y = y.reshape(b * n, self.heads, length, -1).transpose(1, 2).reshape(b, n, length, c)
        return linear(self.o, y, dtype)


class Block(nn.Module):
    def __init__(self, s):
        super().__init__()
        c = s.dim
        self.self_attn, self.cross_attn = SelfAttention(s), CrossAttention(s)
        self.norm3 = nn.LayerNorm(c, 1e-6)
        self.ffn = nn.Sequential(nn.Linear(c, s.ffn_dim), nn.GELU(approximate="tanh"),
                                 nn.Linear(s.ffn_dim, c))
        self.modulation = nn.Parameter(torch.randn(1, 6, c) / c ** 0.5)

    def forward(self, x, e6, text, layout, dtype):
        """e6 [B, N, 6, C]: one timestep a block."""
        shift1, scale1, gate1, shift2, scale2, gate2 = (e6 + self.modulation).unbind(2)
        y = self.self_attn(modulated(x, scale1, shift1, 1, dtype), layout, dtype)
        x = gated(x, y, gate1, dtype)
        y = modulated(x, self.norm3.weight, self.norm3.bias, 0, dtype)
        x = gated(x, self.cross_attn(y, text, dtype), None, dtype)
        y = linear(self.ffn[0], modulated(x, scale2, shift2, 1, dtype), dtype)
        return gated(x, linear(self.ffn[2], gelu(y, dtype), dtype), gate2, dtype)


class Head(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.head = nn.Linear(s.dim, 4 * LATENT_CHANNELS)
        self.modulation = nn.Parameter(torch.randn(1, 2, s.dim) / s.dim ** 0.5)

    def forward(self, x, e):
        shift, scale = (e.unsqueeze(2) + self.modulation).unsqueeze(3).unbind(2)
        return self.head(F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift)


class Layout:
    """Positions of the blocks and what each sees. `clean` and `noisy` are block numbers of the
    video, in sequence order clean first; a block sees clean blocks before it inside the window.
    `length`: latent frames of a block."""

    def __init__(self, settings, clean, noisy, height, width, length=BLOCK):
        frames = torch.tensor([b * length + i for b in [*clean, *noisy] for i in range(length)])
        self.cos, self.sin = rotary(frames, height, width, settings.dim // settings.num_heads)
        reach = settings.window // BLOCK - 1
        rows = []
        for n, b in enumerate([*clean, *noisy]):
            rows.append([i for i, c in enumerate(clean) if b - reach <= c < b] + [n])
        sizes = sorted({len(r) for r in rows})
        self.groups = [([n for n, r in enumerate(rows) if len(r) == s],
                        [r for r in rows if len(r) == s]) for s in sizes]


class Transformer(nn.Module):
    def __init__(self, s):
        super().__init__()
        c = s.dim
        self.settings = s
        self.patch_embedding = nn.Conv3d(LATENT_CHANNELS, c, (1, 2, 2), (1, 2, 2))
        self.text_embedding = nn.Sequential(nn.Linear(s.text_dim, c), nn.GELU(approximate="tanh"),
                                            nn.Linear(c, c))
        self.time_embedding = nn.Sequential(nn.Linear(s.freq_dim, c), nn.SiLU(), nn.Linear(c, c))
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(c, 6 * c))
        self.blocks = nn.ModuleList(Block(s) for _ in range(s.num_layers))
        self.head = Head(s)
        self.initialise()

    def initialise(self):
        for m in self.modules():
            if isinstance(m, nn.Linear):
                nn.init.xavier_uniform_(m.weight)
                nn.init.zeros_(m.bias)
        nn.init.xavier_uniform_(self.patch_embedding.weight.flatten(1))
        for m in (*self.text_embedding, *self.time_embedding):
            if isinstance(m, nn.Linear):
                nn.init.normal_(m.weight, std=0.02)
        nn.init.normal_(self.time_projection[1].weight, std=0.02)
        nn.init.zeros_(self.head.head.weight)

    def forward(self, x, t, text, layout, dtype=torch.bfloat16):
        """x [B, N, F, 16, h, w], F frames a block, t [B, N], text [B, N, text_len, text_dim] -> flow like x."""
        b, n, f, ch, h, w = x.shape
        patches = x.reshape(b, n, f, ch, h // 2, 2, w // 2, 2).permute(0, 1, 2, 4, 6, 3, 5, 7)
        patches = patches.reshape(b, n, f * h * w // 4, ch * 4)
        weight = self.patch_embedding.weight.flatten(1)
        y = F.linear(patches, weight, self.patch_embedding.bias)
        e = self.time_embedding(timestep_embedding(t, self.settings.freq_dim))
        e6 = self.time_projection(e).unflatten(-1, (6, -1))
        context = self.text_embedding(text)
        for block in self.blocks:
            y = block(y, e6, context, layout, dtype)
        y = self.head(y, e)  # [.., 4 * 16]: (row, column, channel)
        y = y.reshape(b, n, f, h // 2, w // 2, 2, 2, ch).permute(0, 1, 2, 7, 3, 5, 4, 6)
        return y.reshape(b, n, f, ch, h, w)
