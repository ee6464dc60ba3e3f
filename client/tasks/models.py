"""Small models that train in milliseconds on one core: what a federation learns is not the point here, how it holds is."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class ImageNetwork(nn.Module):
    """A network of two strided convolutions and one linear layer, for images `(N, H, W)` or `(N, H, W, C)`."""

    def __init__(self, shape: tuple[int, ...], classes: int, channels: int = 8) -> None:
        super().__init__()
        height, width, depth = (*shape, 1)[:3]
        quarter = ((height + 3) // 4) * ((width + 3) // 4)
        self.first = nn.Conv2d(depth, channels, kernel_size=3, stride=2, padding=1)
        self.second = nn.Conv2d(channels, 2 * channels, kernel_size=3, stride=2, padding=1)
        self.last = nn.Linear(2 * channels * quarter, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits `(N, classes)`."""
        x = x.unsqueeze(1) if x.ndim == 3 else x.permute(0, 3, 1, 2)
        x = torch.relu(self.second(torch.relu(self.first(x))))
        return self.last(x.flatten(1))


def dense_network(inputs: int, classes: int, hidden: int) -> nn.Module:
    """A network with one hidden layer, or logistic regression if `hidden` is 0; images are flattened first."""
    if not hidden:
        return nn.Sequential(nn.Flatten(), nn.Linear(inputs, classes))
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, classes))


def initialized(network: Callable[[], nn.Module], seed: int) -> nn.Module:
    """The network with weights drawn from `seed` (He et al., ICCV 2015, https://arxiv.org/abs/1502.01852), biases zero."""
    generator = torch.Generator().manual_seed(seed)
    # On the meta device the layers' own initialization draws nothing from the global random state.
    with torch.device("meta"):
        model = network()
    model = model.to_empty(device="cpu")
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        else:
            nn.init.kaiming_uniform_(parameter, nonlinearity="relu", generator=generator)
    return model
