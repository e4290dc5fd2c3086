"""The convolutions of the networks in the forms for GPUs.

XLA hands convolutions to the vendor's library, which takes kernels in another order than they are stored in. Where the
kernel is the larger operand, reordering it in each pass, and its gradient for the optimiser, is most of what a step at
batch size 1 reads and writes; so there a convolution is matrix products of the kernel as it lies in memory.
`benchmarks/kernels.py` lists what follows from a form: what a step launches, and its bytes.
"""

import jax
from jax import lax
from jax.experimental.layout import Layout, with_layout_constraint

from pix2pix_jax.models.convolutions import matmul, plain

_ROW_MAJOR = Layout((0, 1, 2, 3))


def down_conv(x: jax.Array, kernel: jax.Array, *, pad: int) -> jax.Array:
    """As `convolutions.down_conv`, `pad` zeros at each side."""
    n, h, w, _ = x.shape
    if n * (h // 2) * (w // 2) < kernel.shape[3]:  # a kernel larger than all patches that it is multiplied by
        return matmul.down_conv_gather(x, kernel, pad=pad)
    return plain.down_conv(x, _in_order(kernel), pad=pad)


def flat_conv(x: jax.Array, kernel: jax.Array, *, pad: int) -> jax.Array:
    """As `convolutions.flat_conv`, `pad` zeros at each side."""
    return plain.flat_conv(x, _in_order(kernel), pad=pad)


def up_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """As `convolutions.up_conv`."""
    n, h, w, _ = x.shape
    if n * h * w < kernel.shape[2]:  # a kernel larger than all patches that it makes
        return matmul.up_conv_by_tap(x, kernel)
    return up_conv_as_gradient(x, _in_order(kernel))


@jax.custom_vjp
def up_conv_as_gradient(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`up_conv` as the gradient of a strided convolution by its image.

    XLA recognises such a gradient by the reversal of its kernel. A dilated convolution without one it computes on an
    image into which it has written the zeros, with four times the products. The barrier keeps the two reversals, the
    stored kernel's and the gradient's, from cancelling.
    """
    n, h, w, _ = x.shape
    strided = lax.optimization_barrier(plain.transposed(kernel))
    large = jax.ShapeDtypeStruct((n, 2 * h, 2 * w, kernel.shape[3]), x.dtype)
    return jax.linear_transpose(lambda y: plain.down_conv(y, strided, pad=1), large)(x)[0]


up_conv_as_gradient.defvjp(lambda x, kernel: (up_conv_as_gradient(x, kernel), (x, kernel)), plain.up_conv_gradient)


@jax.custom_vjp
def _in_order(kernel: jax.Array) -> jax.Array:
    """The kernel, its gradient brought into the order of the kernel.

    Otherwise XLA brings the optimiser's moments into the gradient's order and back: four arrays instead of one.
    """
    return kernel


_in_order.defvjp(lambda kernel: (kernel, None), lambda _, gradient: (with_layout_constraint(gradient, _ROW_MAJOR),))
