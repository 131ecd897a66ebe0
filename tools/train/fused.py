"""Autograd functions around fused.c. Tensors are bf16 [N, C, H, W], channels last in memory."""
import ctypes

import torch

import native

_library = None


def library():
    global _library
    if _library is None:
        _library = native.load("fused", ["fused.c"], ["-fopenmp"])
    return _library


def channels_last(n, c, h, w):
    return torch.empty((n, c, h, w), dtype=torch.bfloat16, memory_format=torch.channels_last)


class NormSiluStack(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, gamma, batch, taps):
        n, c, h, w = x.shape
        x = x.contiguous(memory_format=torch.channels_last)
        y = channels_last(n, taps * c, h, w)
        sizes = [ctypes.c_long(v) for v in (batch, n // batch, h * w)]
        assert library().fused_forward(native.pointer(x), native.pointer(gamma), native.pointer(y),
                                       *sizes, taps, c) == 0
        ctx.save_for_backward(x, gamma)
        ctx.sizes, ctx.taps = sizes, taps
        return y

    @staticmethod
    def backward(ctx, dy):
        x, gamma = ctx.saved_tensors
        dy = dy.contiguous(memory_format=torch.channels_last)
        dx, dgamma = torch.empty_like(x), torch.zeros_like(gamma)
        library().fused_backward(native.pointer(x), native.pointer(gamma), native.pointer(dy),
                                 native.pointer(dx), native.pointer(dgamma), *ctx.sizes, ctx.taps,
                                 x.shape[1])
        return dx, dgamma, None, None


class BlowUp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        n, c, h, w = ctx.shape = x.shape
        x = x.contiguous(memory_format=torch.channels_last)
        y = channels_last(n, c, 2 * h, 2 * w)
        library().fused_blow_up(native.pointer(x), native.pointer(y),
                                *[ctypes.c_long(v) for v in (n, h, w, c)])
        return y

    @staticmethod
    def backward(ctx, dy):
        n, c, h, w = ctx.shape
        dy = dy.contiguous(memory_format=torch.channels_last)
        dx = channels_last(n, c, h, w)
        library().fused_blow_up_back(native.pointer(dy), native.pointer(dx),
                                     *[ctypes.c_long(v) for v in (n, h, w, c)])
        return dx


# ---- transformer ------------------------------------------------------------------------------------


def call(name, *arguments):
    """Tensors as pointers, None as NULL, whole numbers as long, others as float."""
    def convert(v):
        if v is None:
            return ctypes.c_void_p()
        if isinstance(v, torch.Tensor):
            assert v.is_contiguous()
            return native.pointer(v)
        return ctypes.c_long(v) if isinstance(v, int) else ctypes.c_float(v)
    function = getattr(library(), name)
    function.restype = None
    function(*map(convert, arguments))


def bf16_like(x):
    return torch.empty(x.shape, dtype=torch.bfloat16)


class LayerNorm(torch.autograd.Function):
    """x f32 [G, R, C], scale and shift [G, C] -> bf16."""

    @staticmethod
    def forward(ctx, x, scale, shift, offset):
        x, scale, shift = x.contiguous(), scale.contiguous(), shift.contiguous()
        y = bf16_like(x)
        ctx.sizes = (*x.shape, float(offset))
        call("fused_layer_norm", x, scale, shift, y, *ctx.sizes)
        ctx.save_for_backward(x, scale)
        return y

    @staticmethod
    def backward(ctx, dy):
        x, scale = ctx.saved_tensors
        dx, dscale, dshift = torch.empty_like(x), torch.zeros_like(scale), torch.zeros_like(scale)
        call("fused_layer_norm_back", x, scale, dy.contiguous(), dx, dscale, dshift, *ctx.sizes)
        return dx, dscale, dshift, None


class RMSRope(torch.autograd.Function):
    """x bf16 [..., L, C]; cos, sin [L, D / 2] or None -> bf16."""

    @staticmethod
    def forward(ctx, x, weight, cos, sin, head_dim):
        x = x.contiguous()
        y = torch.empty_like(x)
        length = cos.shape[0] if cos is not None else 1
        ctx.sizes = (x.numel() // x.shape[-1], length, x.shape[-1], head_dim)
        call("fused_rms_rope", x, weight, cos, sin, y, *ctx.sizes)
        ctx.save_for_backward(x, weight, cos, sin)
        return y

    @staticmethod
    def backward(ctx, dy):
        x, weight, cos, sin = ctx.saved_tensors
        dx, dweight = torch.empty_like(x), torch.zeros_like(weight)
        call("fused_rms_rope_back", x, weight, cos, sin, dy.contiguous(), dx, dweight, *ctx.sizes)
        return dx, dweight, None, None, None


class Gated(torch.autograd.Function):
    """x f32 [G, R, C] + gate [G, C] (or None) * y bf16."""

    @staticmethod
    def forward(ctx, x, y, gate):
        x, y = x.contiguous(), y.contiguous()
        gate = gate.contiguous() if gate is not None else None
        out = torch.empty_like(x)
        call("fused_gated", x, y, gate, out, *x.shape)
        ctx.save_for_backward(y, gate)
        return out

    @staticmethod
    def backward(ctx, dout):
        y, gate = ctx.saved_tensors
        dout = dout.contiguous()
        dy = torch.empty_like(y)
        dgate = torch.empty_like(gate) if gate is not None else None
        call("fused_gated_back", dout, y, gate, dy, dgate, *dout.shape)
        return dout, dy, dgate


class Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        x = x.contiguous()
        y = torch.empty_like(x)
        call("fused_gelu", x, y, x.numel())
        ctx.save_for_backward(x)
        return y

    @staticmethod
    def backward(ctx, dy):
        x, = ctx.saved_tensors
        dx = torch.empty_like(x)
        call("fused_gelu_back", x, dy.contiguous(), dx, x.numel())
        return dx


class Softmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx, s, scale):
        s = s.contiguous()
        p = torch.empty_like(s)
        ctx.sizes = (s.numel() // s.shape[-1], s.shape[-1], float(scale))
        call("fused_softmax", s, p, *ctx.sizes)
        ctx.save_for_backward(p)
        return p

    @staticmethod
    def backward(ctx, dp):
        p, = ctx.saved_tensors
        ds = torch.empty_like(p)
        call("fused_softmax_back", p, dp.contiguous(), ds, *ctx.sizes)
        return ds, None
