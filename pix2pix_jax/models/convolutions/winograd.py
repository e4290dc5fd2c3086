"""4x4 convolutions with fewer products than the definition's 16, for processors whose arithmetic is the limit.

**Stride 2**: 9 products, by Winograd's F(2x2, 2x2) (Winograd 1980; Lavin & Gray 2016). Two neighbouring outputs of a
kernel of two taps, y0 = x0 k0 + x1 k1 and y1 = x1 k0 + x2 k1, are y0 = (x0 - x1) k0 + m and y1 = m + (x2 - x1) k1 with
m = x1 (k0 + k1): 3 products instead of 4, and over rows and columns 9 instead of 16. All else is additions, so the
rounding stays near that of the plain sum. A product here is one of matrices: pixels x channels by channels x features.
A 4x4 kernel of stride 2 is a 2x2 kernel over the 2x2 blocks of the image; its transposed convolution is that,
transposed.

**Stride 1**: F(3x3, 4x4), 36 products for the 9 outputs of a tile, so 4 for one. Three outputs of a kernel of four taps
come from six numbers; they are coefficients of a product of polynomials, which is made by values at six points (Toom
and Cook's method, transposed). These values are sums with weights, so rounding errors are larger than the plain sum's:
with 256 channels 2.6 times, 2e-6 of the outputs' spread.
"""

import jax
import jax.numpy as jnp
import numpy as np

# With fewer pixels in the small images, preparing the kernel costs more than the saved products; with fewer channels,
# products are not what takes the time. Measured (benchmarks/README.md).
_FEWEST_PIXELS = 512
_FEWEST_CHANNELS = 32

_Grid = list[list[jax.Array]]  # by row, by column


def pays(*, pixels: int, kernel: jax.Array) -> bool:
    """Tells whether these forms are faster than 16 products; elsewhere than in float32 they would be less exact.

    Args:
      pixels: of the small image, in all examples of the batch.
      kernel: (size, size, I, O).
    """
    size, channels = kernel.shape[0], min(kernel.shape[2:])
    exact = kernel.dtype == jnp.float32
    return size == 4 and exact and pixels >= _FEWEST_PIXELS and channels >= _FEWEST_CHANNELS


def down_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolves a padded image by a 4x4 kernel, stride 2: (N, 2H + 2, 2W + 2, I) -> (N, H, W, O), H and W even."""
    n, h, w, c = x.shape
    blocks = x.reshape(n, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(n, h // 2, w // 2, 4 * c)
    # A tap a of 4 is 2 A + p: pixel p of block A.
    taps = kernel.reshape(2, 2, 2, 2, c, -1).transpose(0, 2, 1, 3, 4, 5).reshape(2, 2, 4 * c, -1)
    return _interleave(_convolve(_tiles(blocks), [list(row) for row in taps]))


def up_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolves by a transposed 4x4 kernel, stride 2: (N, H, W, I) -> (N, 2H, 2W, O), H and W even."""
    n, h, w, _ = x.shape
    large = jax.ShapeDtypeStruct((n, 2 * h + 2, 2 * w + 2, kernel.shape[3]), x.dtype)
    (padded,) = jax.linear_transpose(lambda y: down_conv(y, kernel[::-1, ::-1].swapaxes(2, 3)), large)(x)
    return padded[:, 1:-1, 1:-1]


def flat_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolves a padded image by a 4x4 kernel, stride 1: (N, H + 3, W + 3, I) -> (N, H, W, O)."""
    n, h, w, c = x.shape
    h, w = h - 3, w - 3
    rows, columns = -(-h // 3), -(-w // 3)  # tiles of 3x3 outputs; the last may reach beyond the image
    tiles = jnp.matmul(_IMAGE_VALUES, _tiles_of_6x6(x, rows, columns).reshape(36, -1))
    kernels = jnp.matmul(_KERNEL_VALUES, kernel.reshape(16, -1))
    products = tiles.reshape(36, n * rows * columns, c) @ kernels.reshape(36, c, -1)
    y = jnp.matmul(_OUTPUTS, products.reshape(36, -1)).reshape(3, 3, n, rows, columns, -1)
    return y.transpose(2, 3, 0, 4, 1, 5).reshape(n, 3 * rows, 3 * columns, -1)[:, :h, :w]


def _toom_cook(outputs: int, taps: int, points: list[float]) -> list[np.ndarray]:
    """Returns three matrices of weights: for image tiles, for kernels, and for their products.

    With n = outputs + taps - 1, and both axes in one: (n**2, n**2) makes values of a tile of n x n pixels, (n**2,
    taps**2) those of a kernel, and (outputs**2, n**2) makes outputs of the n**2 products of values.
    """

    def values(coefficients: int) -> np.ndarray:  # at `points`, and at infinity, which is the highest coefficient
        return np.vstack([np.vander(points, coefficients, increasing=True), np.eye(coefficients)[-1]])

    lines = np.linalg.inv(values(outputs + taps - 1)).T, values(taps), values(outputs).T
    return [np.kron(line, line).astype(np.float32) for line in lines]


# Of points tried, these round least: 1.5 to 2 times less than 0, 1, -1, 2, -2 and 0, 1, -1, 1/2, -1/2.
_IMAGE_VALUES, _KERNEL_VALUES, _OUTPUTS = _toom_cook(outputs=3, taps=4, points=[0, 1, -1, 2, -0.5])


def _tiles_of_6x6(x: jax.Array, rows: int, columns: int) -> jax.Array:
    """Cuts (N, H, W, C) into tiles that begin at every third pixel, with zeros beyond: (6, 6, N, rows, columns, C)."""
    n, h, w, c = x.shape
    x = jnp.pad(x, ((0, 0), (0, 3 * rows + 3 - h), (0, 3 * columns + 3 - w), (0, 0)))
    x = x.reshape(n, rows + 1, 3, columns + 1, 3, c)
    x = jnp.concatenate([x[:, :, :, :-1], x[:, :, :, 1:]], axis=4)
    x = jnp.concatenate([x[:, :-1], x[:, 1:]], axis=2)  # (n, rows, 6, columns, 6, c)
    return x.transpose(2, 4, 0, 1, 3, 5)


def _tiles(x: jax.Array) -> _Grid:
    """Splits (N, 2H + 1, 2W + 1, C) into 3x3 arrays (N, H, W, C), transformed for the products of each 3x3 tile."""
    return [_thirds(row, axis=2) for row in _thirds(x, axis=1)]


def _thirds(x: jax.Array, *, axis: int) -> list[jax.Array]:
    end = x.shape[axis] // 2 * 2
    x0, x1, x2 = (jax.lax.slice_in_dim(x, start, end + start - 1, 2, axis) for start in (0, 1, 2))
    return [x0 - x1, x1, x2 - x1]


def _convolve(tiles: _Grid, taps: _Grid) -> _Grid:
    """Convolves 3x3 tiles (N, H, W, C) by 2x2 taps (C, O); returns the 2x2 outputs (N, H, W, O) of each tile."""
    kernels = _transposed([[k0, k0 + k1, k1] for k0, k1 in _transposed([[k0, k0 + k1, k1] for k0, k1 in taps])])
    products = [[x @ k for x, k in zip(*rows, strict=True)] for rows in zip(tiles, kernels, strict=True)]
    sums = _transposed([[m0 + m1, m1 + m2] for m0, m1, m2 in products])
    return _transposed([[m0 + m1, m1 + m2] for m0, m1, m2 in sums])


def _transposed(grid: _Grid) -> _Grid:
    return [list(column) for column in zip(*grid, strict=True)]


def _interleave(phases: _Grid) -> jax.Array:
    """Interleaves 2x2 arrays (N, H, W, O) to (N, 2H, 2W, O)."""
    n, h, w, features = phases[0][0].shape
    y = jnp.stack([jnp.stack(row, axis=3) for row in phases], axis=2)
    return y.reshape(n, 2 * h, 2 * w, features)
