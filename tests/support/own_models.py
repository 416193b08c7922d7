"""Small networks of kinds that no library has: what users write themselves."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

CLASSES = 10


class Functional(nn.Module):
    """Raw parameters, a convolution by function, a depthwise one whose groups are read off its input, a sum of two
    branches and a concatenation of two poolings."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 24, 3, padding=1, stride=2)
        self.filters = nn.Parameter(torch.randn(24, 1, 3, 3) * 0.3)
        self.third = nn.Conv2d(24, 24, 1)
        self.scale = nn.Parameter(torch.rand(24))
        self.head = nn.Linear(48, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.second(functional.relu(self.first(x))))
        y = functional.conv2d(x, self.filters, padding=1, groups=x.shape[1])
        x = x + self.third(y) * self.scale.view(1, -1, 1, 1)
        return self.head(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1))


class SuperResolution(nn.Module):
    """Residual blocks without norms, and a pixel shuffle."""

    def __init__(self, width: int = 32, blocks: int = 4) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, width, 3, padding=1)
        self.body = nn.Sequential(*(Residual(width) for _ in range(blocks)), nn.Conv2d(width, width, 3, padding=1))
        self.tail = nn.Sequential(
            nn.Conv2d(width, width * 4, 3, padding=1), nn.PixelShuffle(2), nn.Conv2d(width, 3, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        out: Tensor = self.tail(x + self.body(x))
        return out


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.1 * self.body(x)


class Audio(nn.Module):
    """Convolutions in one dimension over a waveform."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for kernel, stride, channels in ((80, 4, width), (3, 1, width), (3, 1, 2 * width), (3, 1, 4 * width)):
            layers += [nn.Conv1d(before, channels, kernel, stride), nn.BatchNorm1d(channels), nn.ReLU()]
            layers.append(nn.MaxPool1d(4))
            before = channels
        self.layers, self.head = nn.Sequential(*layers), nn.Linear(before, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.layers(x).mean(-1))
        return out


class UNet(nn.Module):
    """Skip connections that are concatenated, and transposed convolutions."""

    def __init__(self, c: int = 16) -> None:
        super().__init__()

        def block(before: int, after: int) -> nn.Sequential:
            layers: list[nn.Module] = []
            for channels in (before, after):
                layers += [nn.Conv2d(channels, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
            return nn.Sequential(*layers)

        self.down1, self.down2, self.down3 = block(3, c), block(c, 2 * c), block(2 * c, 4 * c)
        self.raise2, self.raise1 = nn.ConvTranspose2d(4 * c, 2 * c, 2, 2), nn.ConvTranspose2d(2 * c, c, 2, 2)
        self.up2, self.up1, self.out = block(4 * c, 2 * c), block(2 * c, c), nn.Conv2d(c, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.down1(x)
        b = self.down2(functional.max_pool2d(a, 2))
        c = self.down3(functional.max_pool2d(b, 2))
        y = self.up2(torch.cat([self.raise2(c), b], 1))
        out: Tensor = self.out(self.up1(torch.cat([self.raise1(y), a], 1)))
        return out


class Mixer(nn.Module):
    """Blocks in a dictionary, tokens and channels mixed in turn."""

    def __init__(self, width: int = 32, tokens: int = 64, blocks: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 4, 4)
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    "norm1": nn.LayerNorm(width),
                    "tokens": nn.Sequential(nn.Linear(tokens, 32), nn.GELU(), nn.Linear(32, tokens)),
                    "norm2": nn.LayerNorm(width),
                    "channels": nn.Sequential(nn.Linear(width, 128), nn.GELU(), nn.Linear(128, width)),
                }
            )
            for _ in range(blocks)
        )
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)
        for block in self.blocks:
            assert isinstance(block, nn.ModuleDict)
            x = x + block["tokens"](block["norm1"](x).transpose(1, 2)).transpose(1, 2)
            x = x + block["channels"](block["norm2"](x))
        out: Tensor = self.head(x.mean(1))
        return out


class PackedAttention(nn.Module):
    """Queries, keys and values in one matrix; heads in an attribute; a gated layer after it."""

    def __init__(self, width: int = 48, heads: int = 6, blocks: int = 2) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 4, 4)
        self.blocks = nn.Sequential(*(AttentionBlock(width, heads) for _ in range(blocks)))
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.stem(x).flatten(2).transpose(1, 2))
        out: Tensor = self.head(x.mean(1))
        return out


class AttentionBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.inside = heads, width // heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.gate, self.down = nn.Linear(width, 4 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, _ = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(n, tokens, 3, self.heads, self.inside).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(q, k, v)
        x = x + self.out(y.transpose(1, 2).reshape(n, tokens, self.heads * self.inside))
        left, right = self.gate(self.norm2(x)).chunk(2, dim=-1)
        return x + self.down(functional.silu(left) * right)


class HardHeads(nn.Module):
    """Attention whose heads are written into the code."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, width, 4, 4), nn.Linear(width, CLASSES)
        self.qkv, self.out = nn.Linear(width, 3 * 64), nn.Linear(64, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)
        n, tokens, _ = x.shape
        q, k, v = self.qkv(x).reshape(n, tokens, 3, 4, 16).permute(2, 0, 3, 1, 4)
        y = ((q @ k.transpose(-1, -2)) * 0.25).softmax(-1) @ v
        x = x + self.out(y.transpose(1, 2).reshape(n, tokens, 64))
        out: Tensor = self.head(x.mean(1))
        return out


class Recurrent(nn.Module):
    """A recurrent network of two layers and two directions."""

    def __init__(self, kind: str = "LSTM") -> None:
        super().__init__()
        self.before = nn.Linear(16, 48)
        self.recurrent = getattr(nn, kind)(48, 32, 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(64, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.recurrent(self.before(x))[0][:, -1])
        return out


class Encoder(nn.Module):
    """torch's own transformer layers over an embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(100, 64)
        layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        self.head = nn.Linear(64, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.encoder(self.embedding(x)).mean(1))
        return out


class Dense(nn.Module):
    """Every layer sees the outputs of all before it; groups, a split and a filter of 5 x 5 follow."""

    def __init__(self, growth: int = 12, layers: int = 4, groups: int = 6) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 3, padding=1)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(24 + i * growth), nn.ReLU(), nn.Conv2d(24 + i * growth, growth, 3, padding=1))
            for i in range(layers)
        )
        self.half = 24
        self.transition = nn.Conv2d(24 + layers * growth, 48, 1)
        self.grouped = nn.Conv2d(48, 48, 3, padding=1, groups=groups)
        self.depthwise = nn.Conv2d(24, 24, 5, padding=2, groups=24)
        self.head = nn.Linear(48, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        features = [self.stem(x)]
        for layer in self.layers:
            features.append(layer(torch.cat(features, 1)))
        x = self.grouped(self.transition(torch.cat(features, 1)))
        left, right = x.split([self.half, x.shape[1] - self.half], dim=1)
        x = torch.cat([self.depthwise(left), right], 1)
        out: Tensor = self.head(functional.adaptive_avg_pool2d(x, 1).flatten(1))
        return out


def image(side: int = 32) -> Tensor:
    return torch.zeros(1, 3, side, side)


OWN: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "functional": (Functional, image()),
    "super_resolution": (SuperResolution, image(24)),
    "audio": (Audio, torch.zeros(1, 1, 4000)),
    "unet": (UNet, image()),
    "mixer": (Mixer, image()),
    "packed_attention": (PackedAttention, image()),
    "hard_heads": (HardHeads, image()),
    "lstm": (Recurrent, torch.zeros(1, 12, 16)),
    "gru": (lambda: Recurrent("GRU"), torch.zeros(1, 12, 16)),
    "encoder": (Encoder, torch.zeros(1, 12, dtype=torch.long)),
    "dense": (Dense, image()),
}
"""Name -> what builds the network, and an input of batch 1."""
