"""Stage 4: one forward a step instead of two.

    python3 tools/train/distill.py --run RUN --minutes 30 [--guidance 2]

Guidance computes every step twice, with the prompt and without, and goes beyond the first. The student
learns to give the result at once (Meng and others, "On Distillation of Guided Diffusion Models", 2023):
it begins as its teacher, model.pt, which stays as it is, and sees what the teacher was trained on.
"""
import torch

import model as m
import train_model
from train_model import encode_captions


class Guided(train_model.Stage):
    NAME = "distill"

    def __init__(self, a):
        super().__init__(a)
        self.teacher = torch.nn.ModuleDict({"text": m.TextEncoder(self.settings),
                                            "transformer": m.Transformer(self.settings)})
        self.teacher.load_state_dict(self.taught()["ema"])
        self.teacher.requires_grad_(False).to(a.device)

    def taught(self):
        return torch.load(self.run.folder / "model.pt", map_location="cpu")

    def beginning(self):
        state = self.taught()
        return {"model": state["ema"], "ema": state["ema"], "step": 0, "settings": state["settings"]}

    @torch.no_grad()
    def target(self, flow, seen, t, captions, order, layout):
        def teach(captions):
            embeds = encode_captions(self.teacher["text"], self.tokenizer, captions, self.a.device)
            return self.teacher["transformer"](seen, t, embeds[:, order], layout)[:, -flow.shape[1]:].float()
        without = teach([[""] * len(row) for row in captions])
        return without + self.a.guidance * (teach(captions) - without)


def main():
    p = train_model.arguments(__doc__)
    p.set_defaults(words_weight=0)
    p.add_argument("--guidance", type=float, default=2.0, help="of the teacher")
    Guided(p.parse_args()).train()


if __name__ == "__main__":
    main()
