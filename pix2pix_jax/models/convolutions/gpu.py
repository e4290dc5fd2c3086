"""The convolutions of the networks in the forms for GPUs.

XLA hands convolutions to the vendor's library, which takes kernels in another order than they are stored in. Where the
kernel is the larger operand, that is costly: at batch size 1, reordering kernels in each pass, and their gradients for
the optimiser, is most of what a step reads and writes. There a convolution is computed as matrix products of the kernel
as it lies in memory. `benchmarks/kernels.py` lists the kernels that a step launches in each form, and their bytes.
"""

import jax
from jax import lax
from jax.experimental.layout import Layout, with_layout_constraint

from pix2pix_jax.models.convolutions import matmul, plain

_ROW_MAJOR = Layout((0, 1, 2, 3))


def down_conv(x: jax.Array, kernel: jax.Array, *, pad: int) -> jax.Array:
    """Computes `layers.down_conv` with `pad` zeros at each side."""
    n, h, w, _ = x.shape
    if n * (h // 2) * (w // 2) < kernel.shape[3]:  # the kernel is larger than all the patches that it is multiplied by
        return matmul.down_conv_gather(x, kernel, pad=pad)
    return plain.down_conv(x, _in_order(kernel), pad=pad)


def flat_conv(x: jax.Array, kernel: jax.Array, *, pad: int) -> jax.Array:
    """Computes `layers.flat_conv` with `pad` zeros at each side."""
    return plain.flat_conv(x, _in_order(kernel), pad=pad)


def up_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Computes `layers.up_conv`."""
    n, h, w, _ = x.shape
    if n * h * w < kernel.shape[2]:  # the kernel is larger than all the patches that it makes
        return matmul.up_conv_by_tap(x, kernel)
    return up_conv_as_gradient(x, _in_order(kernel))


@jax.custom_vjp
def up_conv_as_gradient(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Computes `up_conv` as the gradient of a strided convolution by its image.

    XLA recognises such a gradient by its reversed kernel. A dilated convolution without a reversed kernel it computes
    on an image into which zeros are written, with four times the products. The barrier keeps the reversal of the stored
    kernel and that of the gradient from cancelling.
    """
    n, h, w, _ = x.shape
    strided = lax.optimization_barrier(plain.transposed(kernel))
    large = jax.ShapeDtypeStruct((n, 2 * h, 2 * w, kernel.shape[3]), x.dtype)
    return jax.linear_transpose(lambda y: plain.down_conv(y, strided, pad=1), large)(x)[0]


up_conv_as_gradient.defvjp(lambda x, kernel: (up_conv_as_gradient(x, kernel), (x, kernel)), plain.up_conv_gradient)


@jax.custom_vjp
def _in_order(kernel: jax.Array) -> jax.Array:
    """Returns the kernel, and makes its gradient take the kernel's order in memory.

    Otherwise XLA brings the optimiser's moments into the gradient's order and back: four arrays instead of one.
    """
    return kernel


_in_order.defvjp(lambda kernel: (kernel, None), lambda _, gradient: (with_layout_constraint(gradient, _ROW_MAJOR),))
