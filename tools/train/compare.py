"""Does the engine compute what was trained? Writes a folder of recorded results of the training code
in f32, which the engine checks:

    python3 tools/train/compare.py --run RUN --to /tmp/compare && unreel check --dtype f32 /tmp/compare

and with a light decoder another one in /tmp/compare/light.
"""
import argparse
import json
import pathlib

import torch

import encode
import export
import light
import model as m
import text
import vae
import world

CAPTIONS = ["a red sailboat drifts left on a calm sea at sunset", "Snow falls on the city at night.",
            "xylophone Zurich 7"]
SIZE = (160, 96)


def f32(module, state, prefix=""):
    module.load_state_dict({k[len(prefix):]: v for k, v in state.items() if k.startswith(prefix)})
    return module.float().requires_grad_(False)


def compare_vae(run, expected):
    state = torch.load(run / "vae.pt", map_location="cpu")
    model = f32(vae.VAE(state["dim"]), state["ema"])
    if encode.Clips(run).path.exists():
        vae.fold_statistics(model, *export.statistics_of(run))
    x = torch.from_numpy(world.render(world.scene(3), 0, 13, *SIZE)).permute(0, 3, 1, 2) / 127.5 - 1
    z = vae.normalise(model.encode(x[None])[0][0])
    y = model.decode(vae.denormalise(z)[None])[0].clamp(-1, 1)
    export.save(expected / "vae.safetensors", {"clip": x[:9], "clip_latent": z[:3], "latents": z,
                                               "pixels": y})
    return {k: v for k, v in model.state_dict().items()}


def compare_light(run, to):
    model = f32(light.Light(), torch.load(run / "light.pt", map_location="cpu")["ema"])
    torch.manual_seed(1)
    z = torch.randn(4, 16, SIZE[1] // 8, SIZE[0] // 8)
    pixels = model.decode(z[None], torch.float32)[0].clamp(0, 1)
    export.save(to / "taew2_1.expected.safetensors", {"latents": z, "pixels": pixels})
    export.save(to / "taew2_1.safetensors", dict(model.state_dict()))


def compare_model(run, expected, checkpoint):
    state = torch.load(run / "model.pt", map_location="cpu")
    s = m.Settings(**state["settings"])
    encoder = f32(m.TextEncoder(s), state["ema"], "text.")
    transformer = f32(m.Transformer(s), state["ema"], "transformer.")
    tokenizer = text.Tokenizer(run / "spiece.model", s.text_len)
    ids = tokenizer(CAPTIONS)
    embeds = encoder(ids)
    export.save(expected / "text.safetensors", {"ids": ids.int(), "mask": (ids != 0).int(),
                                                "prompt_embeds": embeds})
    torch.manual_seed(1)
    blocks, h, w = 4, SIZE[1] // 8, SIZE[0] // 8
    x = torch.randn(1, 2 * blocks, m.BLOCK, 16, h, w)
    t = torch.cat([torch.zeros(1, blocks), torch.tensor([[1000.0, 750.0, 500.0, 250.0]])], 1)
    layout = m.Layout(s, list(range(blocks)), list(range(blocks)), h // 2, w // 2)
    flow = transformer(x, t, embeds[:1, None].expand(-1, 2 * blocks, -1, -1), layout, torch.float32)
    calls = {}
    for b in range(blocks):
        for step, n in enumerate((blocks + b, b)):  # noisy, then clean, which the cache keeps
            name = f"c{b}.s{step}"
            sigma = max(float(t[0, n]), 1) / 1000  # the nearest of the schedule
            calls.update({f"{name}.latent": x[0, n], f"{name}.flow": flow[0, n],
                          f"{name}.timestep": t[0, n].repeat(m.BLOCK),
                          f"{name}.x0": x[0, n] - sigma * flow[0, n]})
    export.save(expected / "dit_calls.safetensors", calls)
    torch.save({"generator_ema": {f"model.{k}": v for k, v in transformer.state_dict().items()}},
               checkpoint)
    case = {"dit": {"local_attn_size": s.window, "sink_size": 0, "text_len": s.text_len}, "block": 3,
            "lat": [h, w], "shift": 1.0, "frames": 12, "steps": [1000, 750, 500, 250],
            "call_blocks": [3] * blocks}
    (expected / "case.json").write_text(json.dumps(case))
    return {k: v for k, v in transformer.state_dict().items()}, encoder.state_dict(), state["settings"]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--run", required=True, type=pathlib.Path)
    p.add_argument("--to", required=True, type=pathlib.Path)
    a = p.parse_args()
    expected, models = a.to / "expected", a.to / "wan_models/postcard"
    for folder in (expected, models, a.to / "checkpoints"):
        folder.mkdir(parents=True, exist_ok=True)
    (expected / "prompts.json").write_text(json.dumps(CAPTIONS))
    export.save(models / "Wan2.1_VAE.safetensors", compare_vae(a.run, expected))
    transformer, encoder, settings = compare_model(a.run, expected, a.to / "checkpoints/model.pt")
    export.save(models / "diffusion_pytorch_model.safetensors", transformer)
    export.save(models / "models_t5_umt5-xxl-enc-bf16.safetensors", encoder)
    (models / "config.json").write_text(json.dumps(export.transformer_config(settings)))
    tokenizer = models / "google/umt5-xxl/spiece.model"
    tokenizer.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.write_bytes((a.run / "spiece.model").read_bytes())
    if (a.run / "light.pt").exists():
        compare_light(a.run, a.to / "light")


if __name__ == "__main__":
    main()
