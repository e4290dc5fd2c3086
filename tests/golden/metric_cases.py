"""What metrics.npz is about: the weights, images and features that both sides draw from names (see cases.py).

Names of parameters are the published ones with "/" between levels and our names of what a layer holds, such as
Mixed_5b/branch1x1/conv/kernel (height, width, in, out) and Mixed_5b/branch1x1/bn/var.
"""

import numpy as np
from cases import draw

INCEPTION_SIZE = 299
LPIPS_SIZES = {"square": (64, 64), "oblong": (50, 75)}
SIMILARITY_SIZES = {"even": (176, 192), "odd": (181, 203)}
FEATURES = {"few": 50, "many": 300}  # of WIDTH numbers: fewer and more images than features
WIDTH = 64
SUBSETS = {"subsets": 20, "size": 25, "seed": 2020}
# (H, W) to 299x299: magnified, much magnified and unevenly reduced.
RESIZED = {"256x256": (256, 256), "64x48": (64, 48), "400x512": (400, 512)}
ROWS = (0, 150, 298)  # that are stored of every resized image
CLASSES = 7  # of which the last two never occur, and the last is never predicted


def draw_weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Weights for Inception and LPIPS by their names.

    Variances are about 1 instead of `draw`'s 1.5: through fifty convolutions the signal would fade, and all images
    have nearly the same features. LPIPS' weights (`lpips/linN/bias`) are not negative.
    """
    values = draw(name, shape)
    if name.endswith("/var"):
        return values - 0.5
    return np.abs(values) if name.startswith("lpips/lin") else values


def patches(name: str, *, size: tuple[int, int], patch: int) -> np.ndarray:
    """Two images (2, H, W, 3) in [-1, 1] of squares of one colour, cut at the right and below."""
    height, width = (-(-side // patch) for side in size)
    small = draw(f"{name}/image", (2, height, width, 3)).clip(-1, 1)
    return small.repeat(patch, 1).repeat(patch, 2)[:, : size[0], : size[1]]


def inception_images() -> np.ndarray:
    """(2, 299, 299, 3) in [-1, 1]."""
    return patches("inception", size=(INCEPTION_SIZE, INCEPTION_SIZE), patch=23)


def lpips_images(case: str) -> tuple[np.ndarray, np.ndarray]:
    """Two different images and what noise made of them, (2, H, W, 3) in [-1, 1]."""
    images = patches(f"lpips/{case}", size=LPIPS_SIZES[case], patch=7)
    noise = draw(f"lpips/{case}/noise/image", images.shape)
    return images, (images + noise * np.array([0.1, 0.5]).reshape(2, 1, 1, 1)).clip(-1, 1)


def similarity_images(case: str) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (2, H, W, 3): pictures and what noise and a shift of brightness made of them."""
    images = patches(f"ssim/{case}", size=SIMILARITY_SIZES[case], patch=9)
    noise = draw(f"ssim/{case}/noise/image", images.shape)
    noisy = 0.9 * images + noise * np.array([0.1, 0.6]).reshape(2, 1, 1, 1) + 0.1
    return tuple(((x.clip(-1, 1) + 1) * 127.5).round().astype(np.uint8) for x in (images, noisy))


def features(case: str) -> tuple[np.ndarray, np.ndarray]:
    """float32 (n, WIDTH) twice, not negative as Inception's are, of correlated numbers."""

    def mixed(name: str, offset: float) -> np.ndarray:
        kernel = draw(f"features/{name}/kernel", (WIDTH, WIDTH))
        values = draw(f"features/{case}/{name}/image", (FEATURES[case], WIDTH))
        return np.maximum(values @ kernel + offset, 0).astype(np.float32)

    return mixed("a", 0.2), mixed("b", 0.3)


def gaussians() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Mean (WIDTH,) and covariance (WIDTH, WIDTH) of two normal distributions with the same axes, one of them flat."""
    axes, _ = np.linalg.qr(draw("gaussians/axes/kernel", (WIDTH, WIDTH)))
    a, b = gaussian_spreads()
    means = (draw(f"gaussians/{name}/image", (WIDTH,)) for name in "ab")
    return tuple((mean, (axes * spread**2) @ axes.T) for mean, spread in zip(means, (a, b), strict=True))


def gaussian_spreads() -> tuple[np.ndarray, np.ndarray]:
    """Deviations (WIDTH,) along the axes."""
    a, b = (np.abs(draw(f"gaussians/{name}/spread/image", (WIDTH,))) for name in "ab")
    return a, b * (np.arange(WIDTH) < WIDTH // 2)


def resized_image(case: str) -> np.ndarray:
    """uint8 (H, W, 3), of noise and squares: bicubic interpolation leaves [0, 255] here."""
    size = RESIZED[case]
    image = patches(f"resized/{case}", size=size, patch=8)[0] + draw(f"resized/{case}/noise/image", (*size, 3))
    return ((image.clip(-1, 1) + 1) * 127.5).round().astype(np.uint8)


def label_maps() -> tuple[np.ndarray, np.ndarray]:
    """Predicted and actual class numbers, (3, 40, 30)."""
    shape = (3, 40, 30)
    actual = (np.abs(draw("labels/actual/image", shape)) * 4).clip(0, CLASSES - 3).astype(np.int64)
    errors = draw("labels/errors/image", shape) > 0.5
    return np.where(errors, (actual + 2) % (CLASSES - 1), actual), actual
