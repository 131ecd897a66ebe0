"""Last stage: the model folder that unreel reads.

    python3 tools/train/export.py --run RUN --to models/postcard

The latents' mean and deviation are folded into the VAE, so that nothing in the engine is special for
this model.
"""
import argparse
import json
import pathlib
import shutil
import struct

import torch

import vae

TYPES = {torch.bfloat16: "BF16", torch.float32: "F32", torch.int32: "I32"}


def save(path, tensors, metadata=None):
    """safetensors, sorted by name."""
    header, offset, blobs = {"__metadata__": {"format": "pt", **(metadata or {})}}, 0, []
    for name in sorted(tensors):
        t = tensors[name].contiguous()
        raw = t.view(torch.int16 if t.dtype == torch.bfloat16 else torch.int32).numpy().tobytes()
        header[name] = {"dtype": TYPES[t.dtype], "shape": list(t.shape),
                        "data_offsets": [offset, offset + len(raw)]}
        offset += len(raw)
        blobs.append(raw)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))
    print(f"{path}: {len(tensors)} tensors, {path.stat().st_size / 1e6:.2f} MB")


def transformer_config(s):
    return {"_class_name": "WanModel", "model_type": "t2v", "dim": s["dim"], "ffn_dim": s["ffn_dim"],
            "freq_dim": s["freq_dim"], "num_heads": s["num_heads"], "num_layers": s["num_layers"],
            "in_dim": 16, "out_dim": 16, "text_len": s["text_len"], "text_dim": s["text_dim"],
            "eps": 1e-6}


def statistics_of(run):
    """Mean and deviation of mu over the encoded clips."""
    import encode
    mean, std = encode.statistics(encode.Clips(run).open()[0])
    return mean * mean.new_tensor(vae.STD) + mean.new_tensor(vae.MEAN), std * std.new_tensor(vae.STD)


@torch.no_grad()
def export_vae(run, to, dtype):
    state = torch.load(run / "vae.pt", map_location="cpu")
    model = vae.VAE(state["dim"])
    model.load_state_dict(state["ema"])
    vae.fold_statistics(model, *statistics_of(run))
    save(to / "Wan2.1_VAE.safetensors", {k: v.to(dtype) for k, v in model.state_dict().items()})


@torch.no_grad()
def export_light(run, to, dtype):
    state = torch.load(run / "light.pt", map_location="cpu")
    save(to / "taew2_1.safetensors", {k: v.to(dtype) for k, v in state["ema"].items()})


@torch.no_grad()
def export_model(run, to, dtype):
    distilled = run / "distill.pt"
    state = torch.load(distilled if distilled.exists() else run / "model.pt", map_location="cpu")
    s = state["settings"]
    weights = {"text": {}, "transformer": {}}
    for name, tensor in state["ema"].items():
        part, name = name.split(".", 1)
        weights[part][name] = tensor.to(dtype)
    save(to / "diffusion_pytorch_model.safetensors", weights["transformer"])
    save(to / "models_t5_umt5-xxl-enc-bf16.safetensors", weights["text"])
    (to / "config.json").write_text(json.dumps(transformer_config(s), indent=2) + "\n")
    tokenizer = to / "google/umt5-xxl/spiece.model"
    tokenizer.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(run / "spiece.model", tokenizer)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--run", required=True, type=pathlib.Path)
    p.add_argument("--to", required=True, type=pathlib.Path)
    p.add_argument("--f32", action="store_true", help="for comparisons")
    p.add_argument("--only", choices=("vae", "light", "model"))
    a = p.parse_args()
    dtype = torch.float32 if a.f32 else torch.bfloat16
    if a.only in (None, "vae"):
        export_vae(a.run, a.to, dtype)
    if a.only == "light" or (not a.only and (a.run / "light.pt").exists()):
        export_light(a.run, a.to, dtype)
    if a.only in (None, "model"):
        export_model(a.run, a.to, dtype)


if __name__ == "__main__":
    main()
