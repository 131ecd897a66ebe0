"""Muon (K. Jordan and others, 2024) for matrices and convolution kernels, AdamW for the rest.

The step of a matrix is its momentum made orthogonal by five Newton-Schulz iterations, scaled to the
size of an Adam step (J. Liu and others, 2025), so that both share one learning rate.
"""
import torch


def orthogonal(g):
    """g [K, N, M], N <= M: nearly orthogonal rows."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.bfloat16()
    x = x / (x.flatten(1).norm(dim=1).view(-1, 1, 1) + 1e-7)
    for _ in range(5):
        s = torch.bmm(x, x.transpose(1, 2))
        x = a * x + torch.bmm(b * s + c * torch.bmm(s, s), x)
    return x.float()


class Optimiser:
    def __init__(self, model, lr, weight_decay=0.01, momentum=0.95, betas=(0.9, 0.98)):
        matrices, rest = [], []
        for name, p in model.named_parameters():
            is_matrix = p.ndim > 1 and min(p.shape[0], p[0].numel()) > 3
            if is_matrix and "embedding" not in name and "head" not in name and "modulation" not in name:
                matrices.append(p)
            else:
                rest.append(p)
        self.momentum, self.weight_decay = momentum, weight_decay
        self.adam = torch.optim.AdamW(rest, lr=lr, betas=betas, weight_decay=0)
        self.groups = {}
        for p in matrices:
            n, k = p.shape[0], p[0].numel()
            self.groups.setdefault((min(n, k), max(n, k), n > k), []).append(p)
        self.buffers = {p: torch.zeros_like(p) for p in matrices}

    def zero_grad(self):
        self.adam.zero_grad(set_to_none=True)
        for p in self.buffers:
            p.grad = None

    @torch.no_grad()
    def step(self, lr):
        for group in self.adam.param_groups:
            group["lr"] = lr
        self.adam.step()
        for (n, k, tall), params in self.groups.items():
            params = [p for p in params if p.grad is not None]
            if not params:
                continue
            ways = []
            for p in params:
                buffer = self.buffers[p].mul_(self.momentum).add_(p.grad)
                way = p.grad.add(buffer, alpha=self.momentum).reshape(p.shape[0], -1)
                ways.append(way.T if tall else way)
            ways = orthogonal(torch.stack(ways)) * (0.2 * k ** 0.5)
            for p, way in zip(params, ways):
                p.mul_(1 - lr * self.weight_decay).sub_((way.T if tall else way).reshape(p.shape), alpha=lr)

    def state_dict(self):
        return {"adam": self.adam.state_dict(), "buffers": [b for b in self.buffers.values()]}

    def load_state_dict(self, state):
        self.adam.load_state_dict(state["adam"])
        for mine, other in zip(self.buffers.values(), state["buffers"]):
            mine.copy_(other)
