"""A run folder that goes on from a model folder.

    python3 tools/train/resume.py --model models/postcard --run RUN

Weights and tokenizer are taken as they are shipped (bf16, averaged); the optimiser begins anew. What is
encoded in the run is normalised by its own statistics, as ever.
"""
import argparse
import json
import pathlib
import shutil
import struct

import torch

TYPES = {"BF16": torch.bfloat16, "F32": torch.float32}


def load(path):
    """{name: tensor in f32} of a safetensors file."""
    raw = pathlib.Path(path).read_bytes()
    size, = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8:8 + size])
    header.pop("__metadata__", None)
    tensors = {}
    for name, t in header.items():
        begin, end = t["data_offsets"]
        data = torch.frombuffer(bytearray(raw[8 + size + begin:8 + size + end]), dtype=TYPES[t["dtype"]])
        tensors[name] = data.reshape(t["shape"]).float()
    return tensors


def settings_of(model, text):
    config = json.loads((model / "config.json").read_text())
    settings = {k: config[k] for k in ("dim", "ffn_dim", "freq_dim", "num_heads", "num_layers",
                                       "text_len", "text_dim")}
    layers = {int(k.split(".")[1]) for k in text if k.startswith("blocks.")}
    heads = text["blocks.0.pos_embedding.embedding.weight"].shape[1]
    return {**settings, "text_ffn": text["blocks.0.ffn.fc1.weight"].shape[0], "text_heads": heads,
            "text_layers": len(layers), "vocab": text["token_embedding.weight"].shape[0], "window": 9}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--model", required=True, type=pathlib.Path)
    p.add_argument("--run", required=True, type=pathlib.Path)
    a = p.parse_args()
    a.run.mkdir(parents=True, exist_ok=True)
    transformer = load(a.model / "diffusion_pytorch_model.safetensors")
    text = load(a.model / "models_t5_umt5-xxl-enc-bf16.safetensors")
    state = {**{f"transformer.{k}": v for k, v in transformer.items()},
             **{f"text.{k}": v for k, v in text.items()}}
    torch.save({"model": state, "ema": state, "step": 0,
                "settings": settings_of(a.model, text)}, a.run / "model.pt")
    vae = load(a.model / "Wan2.1_VAE.safetensors")
    torch.save({"model": vae, "ema": vae, "step": 0, "pictures": 9,  # of clips: not inflated again
                "dim": vae["encoder.conv1.weight"].shape[0]}, a.run / "vae.pt")
    shutil.copyfile(a.model / "google/umt5-xxl/spiece.model", a.run / "spiece.model")


if __name__ == "__main__":
    main()
