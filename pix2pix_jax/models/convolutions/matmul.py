"""The convolutions of the networks as slices and matrix products: the form for CPUs, and for few pixels on GPUs.

XLA's CPU backend computes the gradients of convolutions by general paths that are up to 60 times slower than its matrix
product (benchmarks/README.md). The gradients of slices and matrix products are slices and matrix products again.

A 4x4 kernel of stride 2 connects a large image with one of half its size. Its tap a in 0..3 along an axis is written
a = 2A + p: p is the parity of the large image's pixel, A the offset in the small one. Rows and columns are treated one
after the other, which takes few and cheap operations. A 3x3 kernel is padded to 4x4 with zeros, after its last tap, or
before the first of a transposed kernel, which is stored rotated. With enough pixels, 9 or 4 products take the place of
16 (`winograd`).
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from pix2pix_jax.models.convolutions import plain, winograd

# Below this many input pixels the kernel is the larger operand, and reordering it costs more than the product itself.
_FEW_PIXELS = 64

# XLA's products for CPUs bring the right operand, here the kernel, into another order first. With so few rows that is
# most of the time.
_FEW_ROWS = 16

_Product = Callable[[jax.Array, jax.Array], jax.Array]


def pad_image(x: jax.Array, pad: int, mode: str = "constant") -> jax.Array:
    """Pads (N, H, W, C) to (N, H + 2 pad, W + 2 pad, C)."""
    return jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode=mode)


def flat_conv(x: jax.Array, kernel: jax.Array, *, pad: int) -> jax.Array:
    """Computes `layers.flat_conv` with `pad` zeros at each side."""
    size = kernel.shape[0]
    if size > 4:  # 49 copies of the input take longer than XLA's own gradient
        return plain.flat_conv(x, kernel, pad=pad)
    if size**2 * kernel.shape[3] <= kernel.shape[2]:  # a pixel's products are fewer than its channels
        return flat_conv_scatter(x, kernel, pad=pad)
    x = pad_image(x, pad)
    n, h, w, c = x.shape
    h, w = h + 1 - size, w + 1 - size
    if winograd.pays(pixels=n * h * w, kernel=kernel):
        return winograd.flat_conv(x, kernel)
    x = jnp.stack([x[:, :, b : b + w] for b in range(size)], axis=3)
    x = jnp.stack([x[:, a : a + h] for a in range(size)], axis=3)  # (n, h, w, size, size, c)
    taps = size * size * c
    return (x.reshape(n * h * w, taps) @ kernel.reshape(taps, -1)).reshape(n, h, w, -1)


def flat_conv_scatter(x: jax.Array, kernel: jax.Array, *, pad: int) -> jax.Array:
    """Multiplies each pixel by all taps, and adds what an output needs: cheaper than to gather, for few features."""
    size, _, c, features = kernel.shape
    taps = kernel.transpose(2, 0, 1, 3).reshape(c, -1)
    y = jnp.matmul(x, taps, preferred_element_type=jnp.float32)
    y = pad_image(y, pad).reshape(len(x), x.shape[1] + 2 * pad, x.shape[2] + 2 * pad, size, size, features)
    h, w = y.shape[1] + 1 - size, y.shape[2] + 1 - size
    y = functools.reduce(jnp.add, [y[:, a : a + h, :, a] for a in range(size)])  # rows: (n, h, w + size - 1, size, o)
    y = functools.reduce(jnp.add, [y[:, :, b : b + w, b] for b in range(size)])
    return y.astype(x.dtype)


def down_conv(x: jax.Array, kernel: jax.Array, *, pad: int) -> jax.Array:
    """Computes `layers.down_conv` with `pad` zeros at each side."""
    n, h, w, _ = x.shape
    h, w = h // 2 + pad - 1, w // 2 + pad - 1
    if h % 2 == w % 2 == 0 and winograd.pays(pixels=n * h * w, kernel=kernel):
        return winograd.down_conv(_padded(x, pad), kernel)
    return down_conv_gather(x, kernel, pad=pad, multiply=_product_on_cpu)


def down_conv_gather(x: jax.Array, kernel: jax.Array, *, pad: int, multiply: _Product = jnp.matmul) -> jax.Array:
    """Gathers the 16 pixels under each output pixel into a row, in the kernel's order, so that it is not copied."""
    kernel, x = _as_4x4(kernel, after=True), _padded(x, pad)
    n, h, w, c = x.shape
    h, w = h // 2 - 1, w // 2 - 1
    x = x.reshape(n, h + 1, 2, w + 1, 2, c)
    x = jnp.concatenate([x[:, :, :, :-1], x[:, :, :, 1:]], axis=4)  # the 4 columns from each even one
    x = jnp.concatenate([x[:, :-1], x[:, 1:]], axis=2)  # and the 4 rows: (n, h, 4, w, 4, c)
    rows = x.transpose(0, 1, 3, 2, 4, 5).reshape(n * h * w, 16 * c)
    return multiply(rows, kernel.reshape(16 * c, -1)).reshape(n, h, w, -1)


def _padded(x: jax.Array, pad: int) -> jax.Array:
    """Adds `pad` zeros at each side, and drops the last of an odd number of rows or columns, which no tap reaches."""
    x = pad_image(x, pad)
    return x[:, : x.shape[1] // 2 * 2, : x.shape[2] // 2 * 2]


def _as_4x4(kernel: jax.Array, *, after: bool) -> jax.Array:
    missing = 4 - kernel.shape[0]
    side = (0, missing) if after else (missing, 0)
    return jnp.pad(kernel, (side, side, (0, 0), (0, 0))) if missing else kernel


@jax.custom_vjp
def _multiply_by_taps(rows: jax.Array, taps: jax.Array) -> jax.Array:
    """Multiplies rows by each of the taps: (rows, I), (taps, I, O) -> (taps, rows, O).

    The rows are repeated, here and in the gradient: so a product is one for each tap, and no kernel is reordered.
    """
    return jnp.broadcast_to(rows, (len(taps), *rows.shape)) @ taps


def _multiply_by_taps_gradient(
    operands: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns the gradients by the rows and by the taps.

    As JAX derives the one by the rows, the taps are the right operands, which XLA for CPUs brings into another order
    first. It reads left ones as they lie, and they are the larger ones here.
    """
    rows, taps = operands
    by_tap = jnp.einsum("tio,tro->tir", taps, gradient, preferred_element_type=jnp.float32)
    by_rows = functools.reduce(jnp.add, by_tap).T.astype(rows.dtype)
    repeated = jnp.broadcast_to(rows, (len(taps), *rows.shape))
    return by_rows, jnp.einsum("tri,tro->tio", repeated, gradient)


_multiply_by_taps.defvjp(lambda rows, taps: (_multiply_by_taps(rows, taps), (rows, taps)), _multiply_by_taps_gradient)


def _without_reordering(plain_product: _Product, product: _Product) -> _Product:
    """Returns `plain_product`, but computed by `product` where there are few rows and no gradient is taken.

    In a train step that would gain nothing: with the gradients of the same operands it took 1.00 to 1.05 of the time.
    """
    few = jax.custom_vjp(product)
    few.defvjp(functools.partial(jax.vjp, plain_product), lambda gradients, y: gradients(y))
    return lambda rows, kernel: (few if len(rows) <= _FEW_ROWS else plain_product)(rows, kernel)


def _multiply_by_quarters(rows: jax.Array, kernel: jax.Array) -> jax.Array:
    """Multiplies (rows, I) by a kernel (I, O), as a batch of products that contract the left operand's rows.

    XLA leaves these to Eigen, which reads the kernel as it lies.
    """
    quarters = rows.reshape(len(rows), 4, -1).transpose(1, 2, 0), kernel.reshape(4, -1, kernel.shape[1])
    products = jnp.einsum("kir,kio->kro", *quarters, preferred_element_type=jnp.float32)
    return functools.reduce(jnp.add, products).astype(rows.dtype)


def _multiply_columns_by_taps(rows: jax.Array, taps: jax.Array) -> jax.Array:
    """Computes `_multiply_by_taps` by such products."""
    return jnp.einsum("tir,tio->tro", jnp.broadcast_to(rows.T, (len(taps), *rows.T.shape)), taps)


_product_on_cpu = _without_reordering(jnp.matmul, _multiply_by_quarters)
_product_by_taps_on_cpu = _without_reordering(_multiply_by_taps, _multiply_columns_by_taps)


def up_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Computes `layers.up_conv`."""
    n, h, w, _ = x.shape
    if h % 2 == w % 2 == 0 and winograd.pays(pixels=n * h * w, kernel=kernel):
        return winograd.up_conv(x, kernel)
    if n * h * w <= _FEW_PIXELS:
        return up_conv_by_tap(x, kernel, multiply=_product_by_taps_on_cpu)
    return up_conv_scatter(x, kernel)


def up_conv_by_tap(x: jax.Array, kernel: jax.Array, *, multiply: _Product = _multiply_by_taps) -> jax.Array:
    """Multiplies by each of the 16 taps, with the kernel as it lies in memory, and adds overlapping results."""
    kernel = _as_4x4(kernel, after=False)
    n, h, w, c = x.shape
    y = multiply(x.reshape(n * h * w, c), kernel.reshape(16, c, -1))
    y = y.reshape(2, 2, 2, 2, n, h, w, -1)[::-1, ::-1, ::-1, ::-1]
    y = _add_shifted(y[0], y[1], axis=4)  # rows: (2, 2, 2, n, h + 1, w, o)
    y = _add_shifted(y[:, 0], y[:, 1], axis=4)  # columns: (2, 2, n, h + 1, w + 1, o)
    return y.transpose(2, 3, 0, 4, 1, 5).reshape(n, 2 * h + 2, 2 * w + 2, -1)[:, 1:-1, 1:-1]


def up_conv_scatter(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Makes the 4x4 output patch of every input pixel by one product, and adds overlapping patches."""
    kernel = _as_4x4(kernel, after=False)
    n, h, w, c = x.shape
    taps = kernel[::-1, ::-1].transpose(2, 0, 1, 3).reshape(c, -1)
    x = (x.reshape(n * h * w, c) @ taps).reshape(n, h, w, 2, 2, 4, -1)
    x = _add_shifted(x[:, :, :, 0], x[:, :, :, 1], axis=1)  # rows: (n, h + 1, w, 2, 4, o)
    x = _add_shifted(x[..., :2, :], x[..., 2:, :], axis=2)  # columns: (n, h + 1, w + 1, 2, 2, o)
    x = x.transpose(0, 1, 3, 2, 4, 5).reshape(n, 2 * h + 2, 2 * w + 2, -1)
    return x[:, 1:-1, 1:-1]


def _add_shifted(x: jax.Array, y: jax.Array, axis: int) -> jax.Array:
    """Adds y, moved by one along `axis`, to x; the axis grows by one."""
    after = [(0, 0)] * x.ndim
    before = [(0, 0)] * x.ndim
    after[axis], before[axis] = (0, 1), (1, 0)
    return jnp.pad(x, after) + jnp.pad(y, before)
