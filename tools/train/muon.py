"""Muon (K. Jordan and others, 2024): momentum whose singular values are all made about 1, for the matrices of a network."""
import torch


class Muon(torch.optim.Optimizer):
    def __init__(self, parameters, lr, momentum=0.95, weight_decay=0.0):
        super().__init__(parameters, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            by_shape = {}
            for p in group["params"]:
                momentum = self.state[p].setdefault("momentum", torch.zeros_like(p))
                momentum.lerp_(p.grad, 1 - group["momentum"])
                by_shape.setdefault(p.shape, []).append((p, p.grad.lerp(momentum, group["momentum"])))
            for shape, pairs in by_shape.items():
                x = orthogonal(torch.stack([update for _, update in pairs]))
                rate = group["lr"] * max(1, shape[0] / shape[1]) ** 0.5
                for (p, _), update in zip(pairs, x):
                    p.mul_(1 - group["lr"] * group["weight_decay"]).add_(update.to(p.dtype), alpha=-rate)


def orthogonal(x, steps=5):
    """The nearest matrices with singular values of about 1, by Newton and Schulz's iteration in bf16; x is [n, rows, columns]."""
    tall = x.shape[1] > x.shape[2]
    x = (x.mT if tall else x).to(torch.bfloat16)
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * (a @ a)) @ x
    return x.mT if tall else x
