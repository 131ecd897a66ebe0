#!/usr/bin/env python3
"""The same transformer forward and VAE decode in plain PyTorch, for comparison with `unreel bench`.

    compare_torch.py --check tests/golden/nano          is it right? (f32, any machine)
    compare_torch.py [--bench bench.json] [--size 832x480] [--window 21] ...

Plain: one product for q, k and v, F.scaled_dot_product_attention over a ring of keys and values that
never moves, linears and convolutions in bf16, norms and the residual stream in f32, no copies that the
arithmetic does not ask for. Eager, and with torch.compile. Times are CUDA events' medians; `--bench`
takes what `unreel bench --json` printed on the same machine and gives the ratios.
"""
import argparse
import json
import math
import os
import statistics
import struct
import sys
import time

try:
    import torch
    import torch.nn.functional as F
except ImportError:
    print("PyTorch is not installed")
    sys.exit(77)

BLOCK, LATENTS = 3, 16


# ---- files -----------------------------------------------------------------------------------------


def safetensors(path):
    data = open(path, "rb").read()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    types = {"F32": torch.float32, "I32": torch.int32}
    entries = json.loads(data[8:start])
    entries.pop("__metadata__", None)
    return {name: torch.frombuffer(bytearray(data[start + e["data_offsets"][0]:start + e["data_offsets"][1]]),
                                   dtype=types[e["dtype"]]).reshape(e["shape"])
            for name, e in entries.items()}


# ---- transformer -----------------------------------------------------------------------------------


def angles(positions, pairs):
    i = torch.arange(pairs, dtype=torch.float64, device=positions.device)
    return positions.double()[:, None] * 10000.0 ** (-i / pairs)


def rotary(start, frames, height, width, head_dim, device):
    """(cos, sin) [frames * height * width, 1, head_dim / 2] for latent frames from `start`."""
    pairs = head_dim // 2
    third = pairs // 3
    axes = [torch.arange(start, start + frames), torch.arange(height), torch.arange(width)]
    parts = [angles(a.to(device), n) for a, n in zip(axes, (pairs - 2 * third, third, third))]
    shape = (frames, height, width)
    grid = [p.reshape([n if i == k else 1 for k, n in enumerate(shape)] + [-1]).expand(*shape, -1)
            for i, p in enumerate(parts)]
    angle = torch.cat(grid, -1).flatten(0, 2)[:, None]
    return angle.cos().float(), angle.sin().float()


def rms(x, gain, eps=1e-6):
    x = x.float()
    return x * (x.square().mean(-1, keepdim=True) + eps).rsqrt() * gain


def turn(x, cos, sin):
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)


def layer_weights(w, prefix, dtype):
    """Of a block, products in `dtype`. Tensors only: what is compiled for one serves all."""
    def get(name, kind=torch.float32):
        return w[prefix + name].to(kind)

    def stack(name, parts):
        return [torch.cat([get(f"{name}.{p}.{k}", dtype) for p in parts]) for k in ("weight", "bias")]
    layer = {"qkv": stack("self_attn", "qkv"), "cross_kv": stack("cross_attn", "kv"),
             "norm3": [get("norm3.weight"), get("norm3.bias")],
             "modulation": get("modulation").reshape(6, -1)}
    for name in ("self_attn.o", "cross_attn.q", "cross_attn.o", "ffn.0", "ffn.2"):
        layer[name] = [get(f"{name}.{k}", dtype) for k in ("weight", "bias")]
    for name in ("self_attn.norm_q", "self_attn.norm_k", "cross_attn.norm_q", "cross_attn.norm_k"):
        layer[name] = get(name + ".weight")
    return layer


def attend(q, k, v):
    """[L, heads, D] each."""
    q, k, v = (t.transpose(0, 1)[None] for t in (q, k, v))
    if hasattr(F, "scaled_dot_product_attention"):
        y = F.scaled_dot_product_attention(q, k, v)
    else:  # PyTorch 1: for --check only
        y = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1) @ v
    return y[0].transpose(0, 1).flatten(1)


class Transformer:
    def __init__(self, w, heads, freq_dim, dtype):
        self.heads, self.freq_dim, self.dtype = heads, freq_dim, dtype
        self.f32 = {k: v.float() for k, v in w.items() if not k.startswith("blocks.")}
        count = 1 + max(int(k.split(".")[1]) for k in w if k.startswith("blocks."))
        self.layers = [layer_weights(w, f"blocks.{i}.", dtype) for i in range(count)]

    def linear(self, name, x):
        return F.linear(x, self.f32[name + ".weight"], self.f32[name + ".bias"])

    def text(self, embeds):
        """Keys and values of every layer, once a prompt."""
        x = self.linear("text_embedding.2",
                        F.gelu(self.linear("text_embedding.0", embeds), approximate="tanh"))
        context = []
        for layer in self.layers:
            k, v = F.linear(x.to(self.dtype), *layer["cross_kv"]).chunk(2, -1)
            k = rms(k, layer["cross_attn.norm_k"]).to(self.dtype)
            context.append([t.unflatten(-1, (self.heads, -1)) for t in (k, v)])
        return context

    def block(self, layer, x, e6, context, ring, rows, held, cos, sin):
        dtype, heads, c = self.dtype, self.heads, x.shape[-1]
        shift1, scale1, gate1, shift2, scale2, gate2 = (layer["modulation"] + e6).unbind(0)
        y = (F.layer_norm(x, (c,), eps=1e-6) * (1 + scale1) + shift1).to(dtype)
        q, k, v = F.linear(y, *layer["qkv"]).chunk(3, -1)
        q, k = (turn(rms(t, g).unflatten(-1, (heads, -1)), cos, sin).to(dtype)
                for t, g in ((q, layer["self_attn.norm_q"]), (k, layer["self_attn.norm_k"])))
        ring[0].index_copy_(0, rows, k)
        ring[1].index_copy_(0, rows, v.unflatten(-1, (heads, -1)))
        y = attend(q, ring[0][:held], ring[1][:held])
        x = x + F.linear(y, *layer["self_attn.o"]) * gate1
        y = F.layer_norm(x, (c,), *layer["norm3"], eps=1e-6).to(dtype)
        q = rms(F.linear(y, *layer["cross_attn.q"]), layer["cross_attn.norm_q"]).to(dtype)
        x = x + F.linear(attend(q.unflatten(-1, (heads, -1)), *context), *layer["cross_attn.o"])
        y = (F.layer_norm(x, (c,), eps=1e-6) * (1 + scale2) + shift2).to(dtype)
        y = F.linear(F.gelu(F.linear(y, *layer["ffn.0"]), approximate="tanh"), *layer["ffn.2"])
        return x + y * gate2

    def forward(self, latents, timestep, context, cache, rows, held, cos, sin):
        """latents [F, 16, h, w], one timestep for all; cache [layers] of (k, v) [tokens, heads, D]."""
        f, ch, h, w = latents.shape
        patches = latents.reshape(f, ch, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
        weight = self.f32["patch_embedding.weight"].flatten(1)
        x = F.linear(patches.flatten(1), weight, self.f32["patch_embedding.bias"])
        angle = angles(timestep.reshape(1), self.freq_dim // 2)
        e = torch.cat([angle.cos(), angle.sin()], -1).float()
        e = self.linear("time_embedding.2", F.silu(self.linear("time_embedding.0", e)))
        e6 = self.linear("time_projection.1", F.silu(e)).reshape(6, -1)
        for layer, text, ring in zip(self.layers, context, cache):
            x = self.block(layer, x, e6, text, ring, rows, held, cos, sin)
        shift, scale = (self.f32["head.modulation"].reshape(2, -1) + e).unbind(0)
        x = self.linear("head.head", F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift)
        return x.reshape(f, h // 2, w // 2, 2, 2, ch).permute(0, 5, 1, 3, 2, 4).reshape(f, ch, h, w)


# ---- VAE -------------------------------------------------------------------------------------------

MEAN = [-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
        0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921]
STD = [2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
       3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160]


class Decoder:
    """The VAE's decoder as a stream, [1, C, T, H, W]: each causal convolution keeps its last frames."""

    def __init__(self, w, dtype, channels_last):
        self.w = {k: v.to(dtype) for k, v in w.items() if k.startswith(("decoder.", "conv2."))}
        if channels_last:
            self.w = {k: v.contiguous(memory_format=torch.channels_last_3d) if v.ndim == 5 else v
                      for k, v in self.w.items()}
        self.dtype, self.channels_last = dtype, channels_last
        self.stages = 1 + max(int(k.split(".")[2]) for k in w if k.startswith("decoder.upsamples."))
        self.mean, self.std = (torch.tensor(v, device=w["conv2.bias"].device).reshape(1, -1, 1, 1, 1)
                               for v in (MEAN, STD))

    def format(self):
        return torch.channels_last_3d if self.channels_last else torch.contiguous_format

    def causal(self, name, x, history):
        """history: name -> the last two frames; returns the new one as well."""
        weight = self.w[name + ".weight"]
        past = history.get(name)
        if past is None:
            past = torch.empty((*x.shape[:2], 2, *x.shape[3:]), dtype=x.dtype, device=x.device,
                               memory_format=self.format()).zero_()
        x = torch.cat([past, x], 2)
        history[name] = x[:, :, -2:].clone()
        return F.conv3d(x, weight, self.w[name + ".bias"], padding=(0, weight.shape[3] // 2, weight.shape[4] // 2))

    def norm(self, name, x):
        gain = self.w[name + ".gamma"].reshape(1, -1, 1, 1, 1)
        return F.normalize(x, dim=1) * x.shape[1] ** 0.5 * gain

    def residual(self, name, x, history):
        y = self.causal(name + ".residual.2", F.silu(self.norm(name + ".residual.0", x)), history)
        y = self.causal(name + ".residual.6", F.silu(self.norm(name + ".residual.3", y)), history)
        if name + ".shortcut.weight" in self.w:
            x = F.conv3d(x, self.w[name + ".shortcut.weight"], self.w[name + ".shortcut.bias"])
        return x + y

    def attention(self, name, x):
        y = self.norm(name + ".norm", x)[0].transpose(0, 1)  # [T, C, H, W]
        qkv = F.conv2d(y, self.w[name + ".to_qkv.weight"], self.w[name + ".to_qkv.bias"])
        q, k, v = qkv.flatten(2).transpose(1, 2)[:, None].chunk(3, -1)
        if hasattr(F, "scaled_dot_product_attention"):
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            y = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1) @ v
        y = y[:, 0].transpose(1, 2).reshape(qkv.shape[0], -1, *qkv.shape[2:])
        y = F.conv2d(y, self.w[name + ".proj.weight"], self.w[name + ".proj.bias"])
        return x + y.transpose(0, 1)[None]

    def upsample(self, name, x, history, first):
        if name + ".time_conv.weight" in self.w and not first:
            y = self.causal(name + ".time_conv", x, history)
            b, c, t, h, w = y.shape
            x = y.reshape(b, 2, c // 2, t, h, w).permute(0, 2, 3, 1, 4, 5).reshape(b, c // 2, 2 * t, h, w)
            x = x.contiguous(memory_format=self.format())
        t = x.shape[2]
        y = F.interpolate(x[0].transpose(0, 1), scale_factor=2, mode="nearest")
        y = F.conv2d(y, self.w[name + ".resample.1.weight"], self.w[name + ".resample.1.bias"], padding=1)
        return y.transpose(0, 1)[None]

    def decode(self, latents, history, first):
        """latents [T, 16, h, w] -> pixels [P, 3, 8h, 8w]; `history` is changed."""
        x = latents.transpose(0, 1)[None].float() * self.std + self.mean
        x = x.to(self.dtype)
        x = x.contiguous(memory_format=self.format())
        x = F.conv3d(x, self.w["conv2.weight"], self.w["conv2.bias"])
        x = self.causal("decoder.conv1", x, history)
        x = self.residual("decoder.middle.0", x, history)
        x = self.attention("decoder.middle.1", x)
        x = self.residual("decoder.middle.2", x, history)
        for i in range(self.stages):
            name = f"decoder.upsamples.{i}"
            if name + ".resample.1.weight" in self.w:
                x = self.upsample(name, x, history, first)
            else:
                x = self.residual(name, x, history)
        x = self.causal("decoder.head.2", F.silu(self.norm("decoder.head.0", x)), history)
        return x[0].transpose(0, 1)


# ---- is it right? ----------------------------------------------------------------------------------


def relative(got, want):
    return float((got - want).norm() / want.norm())


def check(folder):
    """Recorded results of the original program; 0 if all agree."""
    expected = os.path.join(folder, "expected")
    case = json.load(open(os.path.join(expected, "case.json")))
    model = os.path.join(folder, "wan_models", os.listdir(os.path.join(folder, "wan_models"))[0])
    checkpoint = os.path.join(folder, "checkpoints", os.listdir(os.path.join(folder, "checkpoints"))[0])
    w = torch.load(checkpoint, map_location="cpu")["generator_ema"]
    w = {k[len("model."):]: v for k, v in w.items()}
    dit, worst = case["dit"], {}
    t = Transformer(w, dit["num_heads"], dit["freq_dim"], torch.float32)
    calls = safetensors(os.path.join(expected, "dit_calls.safetensors"))
    context = t.text(safetensors(os.path.join(expected, "text.safetensors"))["prompt_embeds"][0])
    h, width = (n // 2 for n in case["lat"])
    window, sink, tokens = dit["local_attn_size"], dit["sink_size"], h * width
    d = dit["dim"] // dit["num_heads"]
    cache = [[torch.full((window * tokens, dit["num_heads"], d), math.nan) for _ in "kv"] for _ in t.layers]
    start, worst["transformer"] = 0, 0
    for number, frames in enumerate(case["call_blocks"]):
        slots = [f if f < sink else sink + (f - sink) % (window - sink) for f in range(start, start + frames)]
        rows = torch.cat([torch.arange(s * tokens, (s + 1) * tokens) for s in slots])
        held = min(start + frames, window) * tokens
        cos, sin = rotary(start, frames, h, width, d, "cpu")
        step = 0
        while f"c{number}.s{step}.latent" in calls:
            call = {k: calls[f"c{number}.s{step}.{k}"] for k in ("latent", "timestep", "flow")}
            flow = t.forward(call["latent"], call["timestep"][:1], context, cache, rows, held, cos, sin)
            worst["transformer"] = max(worst["transformer"], relative(flow, call["flow"]))
            step += 1
        start += frames
    vae = Decoder(torch.load(os.path.join(model, "Wan2.1_VAE.pth"), map_location="cpu"), torch.float32, True)
    recorded = safetensors(os.path.join(expected, "vae.safetensors"))
    history, parts = {}, []
    for begin, end in ((0, 1), (1, 4), (4, 5)):
        parts.append(vae.decode(recorded["latents"][begin:end], history, begin == 0))
    worst["vae"] = relative(torch.cat(parts).clamp(-1, 1), recorded["pixels"])
    bad = 0
    for name, error in worst.items():
        bad += not error < 1e-4
        print(f"{name:12} relative error {error:.2e}{'' if error < 1e-4 else '  TOO LARGE'}")
    return 1 if bad else 0


# ---- how fast is it? -------------------------------------------------------------------------------


def random_weights(shapes, device):
    generator = torch.Generator(device=device).manual_seed(1)
    made = {}
    for name, shape in shapes.items():
        inputs = math.prod(shape[1:]) if len(shape) > 1 else 0
        value = torch.randn(shape, device=device, generator=generator)
        gain = name.endswith("gamma") or ".norm" in name and name.endswith("weight") and len(shape) == 1
        made[name] = 1 + 0.1 * value if gain else value * (inputs ** -0.5 if inputs else 0.02)
    return made


def transformer_shapes(dim, ffn, freq, layers, text_dim):
    def linear(name, n, k):
        return {name + ".weight": (n, k), name + ".bias": (n,)}
    shapes = {"patch_embedding.weight": (dim, LATENTS, 1, 2, 2), "patch_embedding.bias": (dim,),
              "head.modulation": (1, 2, dim)}
    for name, n, k in (("text_embedding.0", dim, text_dim), ("text_embedding.2", dim, dim),
                       ("time_embedding.0", dim, freq), ("time_embedding.2", dim, dim),
                       ("time_projection.1", 6 * dim, dim), ("head.head", 64, dim)):
        shapes.update(linear(name, n, k))
    for i in range(layers):
        p = f"blocks.{i}."
        shapes[p + "modulation"] = (1, 6, dim)
        for a in ("self_attn", "cross_attn"):
            for part in "qkvo":
                shapes.update(linear(p + f"{a}.{part}", dim, dim))
            for part in "qk":
                shapes[p + f"{a}.norm_{part}.weight"] = (dim,)
        shapes.update({p + "norm3.weight": (dim,), p + "norm3.bias": (dim,)})
        shapes.update(linear(p + "ffn.0", ffn, dim))
        shapes.update(linear(p + "ffn.2", dim, ffn))
    return shapes


def decoder_shapes(d):
    shapes = {}

    def conv(name, co, ci, *kernel):
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (co, ci, *kernel), (co,)

    def residual(name, ci, co):
        shapes[f"{name}.residual.0.gamma"], shapes[f"{name}.residual.3.gamma"] = (ci, 1, 1, 1), (co, 1, 1, 1)
        conv(f"{name}.residual.2", co, ci, 3, 3, 3)
        conv(f"{name}.residual.6", co, co, 3, 3, 3)
        if ci != co:
            conv(f"{name}.shortcut", co, ci, 1, 1, 1)
    c = 4 * d
    conv("conv2", LATENTS, LATENTS, 1, 1, 1)
    conv("decoder.conv1", c, LATENTS, 3, 3, 3)
    residual("decoder.middle.0", c, c)
    residual("decoder.middle.2", c, c)
    shapes["decoder.middle.1.norm.gamma"] = (c, 1, 1)
    conv("decoder.middle.1.to_qkv", 3 * c, c, 1, 1)
    conv("decoder.middle.1.proj", c, c, 1, 1)
    at = 0
    for i, width in enumerate((4 * d, 4 * d, 2 * d, d)):
        for k in range(3):
            residual(f"decoder.upsamples.{at}", c if k == 0 else width, width)
            c, at = width, at + 1
        if i < 3:
            name = f"decoder.upsamples.{at}"
            conv(f"{name}.resample.1", c // 2, c, 3, 3)
            if i < 2:
                conv(f"{name}.time_conv", 2 * c, c, 3, 1, 1)
            c, at = c // 2, at + 1
    shapes["decoder.head.0.gamma"] = (c, 1, 1, 1)
    conv("decoder.head.2", 3, c, 3, 3, 3)
    return shapes


def measure(run, runs, device):
    """Median of milliseconds."""
    times = []
    for _ in range(3):
        run()
    for _ in range(runs):
        if device == "cuda":
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            run()
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end))
        else:
            begin = time.perf_counter()
            run()
            times.append(1e3 * (time.perf_counter() - begin))
    return statistics.median(times)


class Results(dict):
    """Milliseconds by name; the table is written anew after each, so that what was measured is not lost
    when the time is over."""

    def __init__(self, options):
        super().__init__()
        self.options = options

    def take(self, name, make):
        """make() gives milliseconds; what fails is said and left out."""
        try:
            self[name] = make()
            print(f"# {name}: {self[name]:.2f} ms", file=sys.stderr, flush=True)
        except Exception as error:  # out of memory, a compiler that is missing: the others still count
            print(f"# {name}: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}",
                  file=sys.stderr, flush=True)
        if self.options.table:
            with open(self.options.table, "w", encoding="utf-8") as file:
                write_table(self, self.options.bench, file)


def compiled(function):
    if not hasattr(torch, "compile"):
        raise RuntimeError("this PyTorch has no torch.compile")
    return torch.compile(function, dynamic=False)


def bench(options, device):
    h, w = (n // 8 for n in options.size)
    dim, ffn, heads, layers, vae_dim, text_dim, text_len = (
        (1536, 8960, 12, 30, 96, 4096, 512) if options.shape == "wan2.1-1.3b" else (96, 224, 3, 3, 12, 64, 48))
    dtype = torch.bfloat16
    results, tokens = Results(options), h * w // 4
    t = Transformer(random_weights(transformer_shapes(dim, ffn, 256, layers, text_dim), device), heads, 256, dtype)
    context = t.text(torch.randn(text_len, text_dim, device=device))
    cache = [[torch.randn(options.window * tokens, heads, dim // heads, device=device, dtype=dtype)
              for _ in "kv"] for _ in t.layers]
    rows = torch.arange((options.window - BLOCK) * tokens, options.window * tokens, device=device)
    cos, sin = rotary(options.window - BLOCK, BLOCK, h // 2, w // 2, dim // heads, device)
    latents = torch.randn(BLOCK, LATENTS, h, w, device=device)
    step = torch.tensor([750.0], device=device)

    def forward():
        return t.forward(latents, step, context, cache, rows, options.window * tokens, cos, sin)

    def forward_compiled():
        t.block = compiled(t.block)  # what is compiled for one layer serves all
        return measure(forward, options.runs, device)
    results.take("forward eager", lambda: measure(forward, options.runs, device))
    weights = random_weights(decoder_shapes(vae_dim), device)
    decoders = {}
    for last in (False, True):
        vae, history = Decoder(weights, dtype, last), {}
        vae.decode(latents[:1], history, True)
        kind = "channels last" if last else "default layout"
        decoders[kind] = vae, history
        results.take(f"vae eager, {kind}", lambda: measure(
            lambda: vae.decode(latents, history, False), options.runs, device))
    results.take("forward compiled", forward_compiled)
    for kind, (vae, history) in decoders.items():
        def decode(vae=vae, history=history):
            function = compiled(vae.decode)
            return measure(lambda: function(latents, history, False), options.runs, device)
        results.take(f"vae compiled, {kind}", decode)
    return results


def write_table(results, path, file):
    ours = {}
    if path:
        made = json.load(open(path))
        for stage in made["stages"]:
            ours[stage["name"]] = 1e3 * stage["p50"]
            if stage["name"] == "vae decode":  # "1 latent frame, ..."
                ours["vae decode"] *= BLOCK / int(stage["what"].split()[0])
        stream = made.get("stream", {})
        for part in stream.get("parts", []):
            ours["stream " + part["name"]] = 1e3 * part["p50"]
        if stream:
            ours["transformer"] = ours["stream denoise"] / stream["steps"]
    rows = [("transformer forward", "forward", ours.get("transformer")),
            ("VAE decode, 3 latent frames", "vae", ours.get("stream vae decode", ours.get("vae decode")))]
    print(f"{'':44} {'PyTorch ms':>11} {'unreel ms':>10} {'ratio':>6}", file=file)
    for name, prefix, own in rows:
        for key, value in results.items():
            if key.startswith(prefix):
                ratio = f"{value / own:6.2f}" if own else "     -"
                print(f"{name + key[len(prefix):]:44} {value:11.2f} "
                      f"{f'{own:10.2f}' if own else '         -'} {ratio}", file=file)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", metavar="GOLDEN")
    parser.add_argument("--bench", metavar="JSON", help="what unreel bench --json printed")
    parser.add_argument("--table", metavar="FILE", help="also keep the table here, from the first result on")
    parser.add_argument("--shape", default="wan2.1-1.3b", choices=("wan2.1-1.3b", "tiny"))
    parser.add_argument("--size", default="832x480", type=lambda s: tuple(map(int, s.split("x")))[::-1])
    parser.add_argument("--window", type=int, default=21)
    parser.add_argument("--runs", type=int, default=10)
    options = parser.parse_args()
    torch.manual_seed(1)
    torch.backends.cudnn.benchmark = True  # choose by measuring, as is done here
    with torch.no_grad():
        if options.check:
            return check(options.check)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
        print(f"PyTorch {torch.__version__}, {name}, {options.shape}, {options.size[1]}x{options.size[0]}, "
              f"window of {options.window}, bf16", flush=True)
        write_table(bench(options, device), options.bench, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
