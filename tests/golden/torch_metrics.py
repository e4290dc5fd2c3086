"""The metrics' networks and formulas in PyTorch and NumPy, written apart from pix2pix_jax to compare it with.

Images are (N, C, H, W). The networks take the names of the published weights: those of pytorch-fid for Inception, and
`convN`, `linN` for LPIPS. benchmarks/inception.py measures the Inception here.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

Conv = tuple[str, int, tuple[int, int]]  # name, width, (height, width) of the kernel
Chain = list[Conv | list[Conv]]  # a list in it: all take what came before, and their outputs are concatenated


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm by running statistics, ReLU."""

    def __init__(self, channels: int, width: int, kernel: tuple[int, int], *, stride: int = 1, padded: bool = True):
        super().__init__()
        padding = tuple(size // 2 for size in kernel) if padded else 0
        self.conv = nn.Conv2d(channels, width, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(width, eps=1e-3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.bn(self.conv(x)))


def average_pool(x: torch.Tensor) -> torch.Tensor:
    """3x3 means of the pixels there are: TensorFlow's pools do not count the border that pads them."""
    return functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


def max_pool(x: torch.Tensor) -> torch.Tensor:
    return functional.max_pool2d(x, 3, 1, 1)


def halve(x: torch.Tensor) -> torch.Tensor:
    return functional.max_pool2d(x, 3, 2)


def _convs(link: Conv | list[Conv]) -> list[Conv]:
    return link if isinstance(link, list) else [link]


class Mixed(nn.Module):
    """Chains of convolutions side by side, and last a pool, with a 1x1 convolution of `pool_width` unless it halves.

    Where the pool halves, the last convolution of every chain does too.
    """

    def __init__(self, channels: int, chains: list[Chain], *, pool, pool_width: int | None = None):
        super().__init__()
        self.chains, self.pool = chains, pool
        halves = pool_width is None
        if not halves:
            self.branch_pool = ConvNorm(channels, pool_width, (1, 1))
        for chain in chains:
            before = channels
            for i, link in enumerate(chain):
                shape = {"stride": 2, "padded": False} if halves and i == len(chain) - 1 else {}
                for name, width, kernel in _convs(link):
                    self.add_module(name, ConvNorm(before, width, kernel, **shape))
                before = sum(width for _, width, _ in _convs(link))

    def _chain(self, chain: Chain, x: torch.Tensor) -> torch.Tensor:
        for link in chain:
            x = torch.cat([self.get_submodule(name)(x) for name, *_ in _convs(link)], 1)
        return x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = self.pool(x)
        if hasattr(self, "branch_pool"):
            pooled = self.branch_pool(pooled)
        return torch.cat([*(self._chain(chain, x) for chain in self.chains), pooled], 1)


def _chain(name: str, widths: list[int], kernels: list[tuple[int, int]]) -> Chain:
    if len(widths) == 1:
        return [(name, widths[0], kernels[0])]
    return [(f"{name}_{i + 1}", *link) for i, link in enumerate(zip(widths, kernels, strict=True))]


ONE, THREE, FIVE, ROW, COLUMN = (1, 1), (3, 3), (5, 5), (1, 7), (7, 1)


def mixed_5(channels: int, pool_width: int) -> Mixed:
    chains = [
        _chain("branch1x1", [64], [ONE]),
        _chain("branch5x5", [48, 64], [ONE, FIVE]),
        _chain("branch3x3dbl", [64, 96, 96], [ONE, THREE, THREE]),
    ]
    return Mixed(channels, chains, pool=average_pool, pool_width=pool_width)


def mixed_6a(channels: int) -> Mixed:
    chains = [
        _chain("branch3x3", [384], [THREE]),
        _chain("branch3x3dbl", [64, 96, 96], [ONE, THREE, THREE]),
    ]
    return Mixed(channels, chains, pool=halve)


def mixed_6(channels: int, inner: int) -> Mixed:
    chains = [
        _chain("branch1x1", [192], [ONE]),
        _chain("branch7x7", [inner, inner, 192], [ONE, ROW, COLUMN]),
        _chain("branch7x7dbl", [inner, inner, inner, inner, 192], [ONE, COLUMN, ROW, COLUMN, ROW]),
    ]
    return Mixed(channels, chains, pool=average_pool, pool_width=192)


def mixed_7a(channels: int) -> Mixed:
    chains = [
        _chain("branch3x3", [192, 320], [ONE, THREE]),
        _chain("branch7x7x3", [192, 192, 192, 192], [ONE, ROW, COLUMN, THREE]),
    ]
    return Mixed(channels, chains, pool=halve)


def mixed_7(channels: int, *, pool) -> Mixed:
    def split(name: str) -> list[Conv]:
        return [(f"{name}a", 384, (1, 3)), (f"{name}b", 384, (3, 1))]

    chains = [
        _chain("branch1x1", [320], [ONE]),
        [("branch3x3_1", 384, ONE), split("branch3x3_2")],
        [("branch3x3dbl_1", 448, ONE), ("branch3x3dbl_2", 384, THREE), split("branch3x3dbl_3")],
    ]
    return Mixed(channels, chains, pool=pool, pool_width=192)


class Inception(nn.Module):
    """The Inception v3 of the Frechet Inception distance (Heusel et al. 2017): TensorFlow's graph of 2015-12-05.

    (N, 3, 299, 299) in [-1, 1] to (N, 2048), the means of the last maps.
    """

    def __init__(self):
        super().__init__()
        self.Conv2d_1a_3x3 = ConvNorm(3, 32, THREE, stride=2, padded=False)
        self.Conv2d_2a_3x3 = ConvNorm(32, 32, THREE, padded=False)
        self.Conv2d_2b_3x3 = ConvNorm(32, 64, THREE)
        self.Conv2d_3b_1x1 = ConvNorm(64, 80, ONE)
        self.Conv2d_4a_3x3 = ConvNorm(80, 192, THREE, padded=False)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = mixed_5(192, 32), mixed_5(256, 64), mixed_5(288, 64)
        self.Mixed_6a = mixed_6a(288)
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d = mixed_6(768, 128), mixed_6(768, 160), mixed_6(768, 160)
        self.Mixed_6e, self.Mixed_7a = mixed_6(768, 192), mixed_7a(768)
        # The published graph takes the maximum in its last block, unlike every other one.
        self.Mixed_7b, self.Mixed_7c = mixed_7(1280, pool=average_pool), mixed_7(2048, pool=max_pool)
        self.eval()

    def stages(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """What every layer gives, in order, under its name; `pool1` and `pool2` halve after the layers before them."""
        answers = {}
        for name, layer in self.named_children():
            x = answers[name] = layer(x)
            if name in ("Conv2d_2b_3x3", "Conv2d_4a_3x3"):
                x = answers[f"pool{1 if name == 'Conv2d_2b_3x3' else 2}"] = halve(x)
        return answers

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.stages(x)["Mixed_7c"].mean((2, 3))


class Lpips(nn.Module):
    """LPIPS 0.1 on AlexNet (Zhang et al. 2018): two (N, 3, H, W) in [-1, 1] to (N,)."""

    MEAN, DEVIATION = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)

    def __init__(self):
        super().__init__()
        self.conv0 = nn.Conv2d(3, 64, 11, 4, 2)
        self.conv1 = nn.Conv2d(64, 192, 5, padding=2)
        self.conv2 = nn.Conv2d(192, 384, 3, padding=1)
        self.conv3 = nn.Conv2d(384, 256, 3, padding=1)
        self.conv4 = nn.Conv2d(256, 256, 3, padding=1)
        self.convs = [self.conv0, self.conv1, self.conv2, self.conv3, self.conv4]
        for i, conv in enumerate(self.convs):
            self.register_buffer(f"lin{i}", torch.ones(conv.out_channels))

    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """What the five rectified convolutions give; the first two are halved on their way to the next."""
        answers = []
        x = (x - x.new_tensor(self.MEAN)[:, None, None]) / x.new_tensor(self.DEVIATION)[:, None, None]
        for i, conv in enumerate(self.convs):
            x = torch.relu(conv(halve(x) if i in (1, 2) else x))
            answers.append(x)
        return answers

    def layers(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """(N, 5): the part of each convolution."""

        def unit(z: torch.Tensor) -> torch.Tensor:
            return z / (z.square().sum(1, keepdim=True).sqrt() + 1e-10)

        parts = []
        for i, (a, b) in enumerate(zip(self.features(x), self.features(y), strict=True)):
            weights = self.get_buffer(f"lin{i}")[:, None, None]
            parts.append(((unit(a) - unit(b)).square() * weights).sum(1).mean((1, 2)))
        return torch.stack(parts, 1)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.layers(x, y).sum(1)


def similarity(x: torch.Tensor, y: torch.Tensor, data_range: float) -> tuple[torch.Tensor, torch.Tensor]:
    """SSIM and its contrast-structure part (Wang et al. 2004), (N, C) each: means over the whole windows of 11x11."""
    offsets = torch.arange(-5, 6, dtype=x.dtype)
    window = torch.exp(-offsets.square() / (2 * 1.5**2))
    window = (window / window.sum()).expand(x.shape[1], 1, 1, 11)

    def blur(z: torch.Tensor) -> torch.Tensor:
        z = functional.conv2d(z, window, groups=z.shape[1])
        return functional.conv2d(z, window.transpose(2, 3), groups=z.shape[1])

    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    mean_x, mean_y = blur(x), blur(y)
    variances = blur(x * x) - mean_x**2 + blur(y * y) - mean_y**2
    structure = (2 * (blur(x * y) - mean_x * mean_y) + c2) / (variances + c2)
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return (luminance * structure).mean((2, 3)), structure.mean((2, 3))


def ssim(x: torch.Tensor, y: torch.Tensor, data_range: float) -> torch.Tensor:
    """(N,): the mean over the channels."""
    return similarity(x, y, data_range)[0].mean(1)


SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003


def ms_ssim(x: torch.Tensor, y: torch.Tensor, data_range: float) -> torch.Tensor:
    """Multi-scale SSIM (Wang et al. 2003), (N,): the mean over the channels of each channel's product of five scales.

    A scale is the 2x2 means of the one before, where an odd side gets a zero in front of it that counts in the mean, as
    in pytorch-msssim. Negative parts become 0. Sides of at least 161.
    """
    product = torch.ones(x.shape[:2], dtype=x.dtype)
    for i, weight in enumerate(SCALE_WEIGHTS):
        whole, structure = similarity(x, y, data_range)
        part = whole if i == len(SCALE_WEIGHTS) - 1 else structure
        product = product * part.clamp(min=0) ** weight
        # Of the zeros at both ends of an odd side the last one fills no window.
        padding = [side % 2 for side in x.shape[2:]]
        x, y = (functional.avg_pool2d(z, 2, padding=padding) for z in (x, y))
    return product.mean(1)


def psnr(x: torch.Tensor, y: torch.Tensor, data_range: float) -> torch.Tensor:
    """(N,) in dB."""
    return 10 * torch.log10(data_range**2 / (x - y).square().mean((1, 2, 3)))


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """FID of two sets of features (n, d), in float64.

    The trace of the square root of two covariances' product is the sum of the singular values of any root of the one
    times any root of the other; the centred features are such roots. Unlike a matrix square root this loses nothing
    where there are fewer images than features.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    x, y = ((z - z.mean(0)) / np.sqrt(len(z) - 1) for z in (a, b))
    difference = a.mean(0) - b.mean(0)
    shared = np.linalg.svd(x @ y.T, compute_uv=False).sum()
    return float(difference @ difference + (x**2).sum() + (y**2).sum() - 2 * shared)


def kernel_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Unbiased squared maximum mean discrepancy of two sets (n, d) by (x.y / d + 1)^3 (Binkowski et al. 2018)."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def others(x: np.ndarray) -> float:
        values = kernel(x, x)
        return (values.sum() - np.trace(values)) / (len(x) * (len(x) - 1))

    return float(others(a) + others(b) - 2 * kernel(a, b).mean())


def kernel_distances(a: np.ndarray, b: np.ndarray, *, subsets: int, size: int, seed: int) -> np.ndarray:
    """(subsets,): of subsets drawn without replacement, the one of `a` first, as torch-fidelity draws them."""
    random = np.random.RandomState(seed)
    pairs = [[z[random.choice(len(z), size, replace=False)] for z in (a, b)] for _ in range(subsets)]
    return np.array([kernel_distance(x, y) for x, y in pairs])


def confusion(predicted: np.ndarray, actual: np.ndarray, classes: int) -> np.ndarray:
    """(actual, predicted) counts of two arrays of class numbers."""
    table = np.zeros((classes, classes), np.int64)
    np.add.at(table, (actual.ravel(), predicted.ravel()), 1)
    return table


def label_scores(table: np.ndarray) -> dict[str, float]:
    """Of (actual, predicted) counts, after Long et al. 2015.

    `class_accuracy` averages over the classes that occur, `class_iou` over those that occur or are predicted. Those
    ending in `_all` count every other class as 0, as the pix2pix paper's own evaluation does.
    """
    hits, actual = np.diag(table).astype(np.float64), table.sum(1)
    union = actual + table.sum(0) - hits
    accuracy, iou = hits[actual > 0] / actual[actual > 0], hits[union > 0] / union[union > 0]
    return {
        "pixel_accuracy": hits.sum() / table.sum(),
        "class_accuracy": accuracy.mean(),
        "class_iou": iou.mean(),
        "class_accuracy_all": accuracy.sum() / len(table),
        "class_iou_all": iou.sum() / len(table),
    }
