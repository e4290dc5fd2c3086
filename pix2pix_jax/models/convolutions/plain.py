"""The convolutions of the networks by XLA's own convolution: the definition, and the form for TPUs and others.

Arguments and results are those of the functions of the same names in `layers`, with `pad` zeros at each side.
"""

import functools

import jax
from jax import lax

_convolve = functools.partial(lax.conv_general_dilated, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def flat_conv(x: jax.Array, kernel: jax.Array, *, pad: int) -> jax.Array:
    return _convolve(x, kernel, (1, 1), [(pad, pad)] * 2)


def down_conv(x: jax.Array, kernel: jax.Array, *, pad: int) -> jax.Array:
    return _convolve(x, kernel, (2, 2), [(pad, pad)] * 2)


@jax.custom_vjp
def up_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    before = kernel.shape[0] - 2
    return _convolve(x, kernel, (1, 1), [(before, 2)] * 2, lhs_dilation=(2, 2))


def up_conv_gradient(operands: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the gradients of `up_conv` by x and by the kernel, through the strided convolution that it transposes.

    JAX derives the same kernel gradient from the dilated form. But where images are sharded by rows, XLA then gathers
    all rows of both operands on every device, and each device does the work of all.
    """
    x, kernel = operands
    x_gradient, vjp_fn = jax.vjp(lambda k: down_conv(gradient, k, pad=1), transposed(kernel))
    return x_gradient, transposed(*vjp_fn(x))


def transposed(kernel: jax.Array) -> jax.Array:
    """Turns the kernel of `up_conv` into that of its strided convolution, and back: (k, k, I, O) -> (k, k, O, I)."""
    return kernel[::-1, ::-1].swapaxes(2, 3)


up_conv.defvjp(lambda x, kernel: (up_conv(x, kernel), (x, kernel)), up_conv_gradient)
