"""The convolutions of the networks as XLA's own: the definition, and the form for TPUs and all else that is not named.

Arguments and results are those of `convolutions`, with `pad` zeros at each side.
"""

import jax
from jax import lax

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def flat_conv(x: jax.Array, kernel: jax.Array, *, pad: int) -> jax.Array:
    return lax.conv_general_dilated(x, kernel, (1, 1), [(pad, pad)] * 2, dimension_numbers=_DIMENSIONS)


def down_conv(x: jax.Array, kernel: jax.Array, *, pad: int) -> jax.Array:
    return lax.conv_general_dilated(x, kernel, (2, 2), [(pad, pad)] * 2, dimension_numbers=_DIMENSIONS)


@jax.custom_vjp
def up_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    before = kernel.shape[0] - 2
    return lax.conv_general_dilated(
        x, kernel, (1, 1), [(before, 2)] * 2, lhs_dilation=(2, 2), dimension_numbers=_DIMENSIONS
    )


def up_conv_gradient(operands: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(by x, by the kernel) of `up_conv`, as that of the strided convolution whose transpose it is.

    The gradient of the kernel that JAX derives from the dilated form is the same, but where images are sharded by rows
    XLA first brings all rows of both operands to every device, and each then does the work of all.
    """
    x, kernel = operands
    x_gradient, vjp_fn = jax.vjp(lambda k: down_conv(gradient, k, pad=1), transposed(kernel))
    return x_gradient, transposed(*vjp_fn(x))


def transposed(kernel: jax.Array) -> jax.Array:
    """The kernel of the strided convolution whose transpose is `up_conv`, and back: (k, k, I, O) -> (k, k, O, I)."""
    return kernel[::-1, ::-1].swapaxes(2, 3)


up_conv.defvjp(lambda x, kernel: (up_conv(x, kernel), (x, kernel)), up_conv_gradient)
