"""Pictures as callers hold them: paths, PIL images, and arrays of several libraries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from PIL import Image

from pix2pix_jax.data.files import any_image
from pix2pix_jax.data.files.value_range import UINT8, ValueRange
from pix2pix_jax.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
FLOATS = (PIXELS / 127.5 - 1).astype(np.float32)


def to_array(image, channels=3, values=UINT8):
    return any_image.to_array(image, channels, values)


class OfArray:
    """An array of a library that NumPy reads by `__array__`, and that is no array of NumPy's."""

    def __init__(self, array):
        self._array = array

    def __array__(self, dtype=None, copy=None):
        return np.array(self._array, dtype)


class OfDLPack:
    """An array of a library that shares its memory, and no more."""

    def __init__(self, array):
        self._array = array

    def __dlpack__(self, **options):
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()


class Tensor:
    """An array that behaves as PyTorch's: it has to leave its graph, its device, and NumPy may not know its dtype."""

    def __init__(self, array, *, attached=True, remote=True):
        self._array, self._attached, self._remote = array, attached, remote

    def detach(self):
        return Tensor(self._array, attached=False, remote=self._remote)

    def cpu(self):
        return Tensor(self._array, attached=self._attached, remote=False)

    def __array__(self, dtype=None):
        if self._attached or self._remote:
            raise RuntimeError("detach() and cpu() first")
        if self._array.dtype == jnp.bfloat16:
            raise TypeError("unsupported ScalarType")
        return np.asarray(self._array, dtype)

    def __dlpack__(self, **options):
        if self._attached or self._remote:
            raise BufferError("detach() and cpu() first")
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()


@pytest.mark.parametrize("wrap", [np.asarray, jnp.asarray, OfArray, OfDLPack, Tensor])
def test_arrays_of_any_library_stay_what_they_are(wrap):
    found = to_array(wrap(PIXELS))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, PIXELS)
    np.testing.assert_array_equal(to_array(wrap(FLOATS)), FLOATS)


@pytest.mark.parametrize("wrap", [jnp.asarray, np.asarray, OfDLPack, Tensor])
def test_bfloat16(wrap):
    found = to_array(wrap(jnp.asarray(FLOATS, jnp.bfloat16)))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, FLOATS, atol=1 / 128)


def test_tensors_of_pytorch():
    torch = pytest.importorskip("torch")
    levels, floats = torch.tensor(PIXELS), torch.tensor(FLOATS)
    np.testing.assert_array_equal(to_array(levels), PIXELS)
    for tensor in (floats, floats.clone().requires_grad_(), floats.movedim(-1, 0).contiguous().movedim(0, -1)):
        np.testing.assert_array_equal(to_array(tensor), FLOATS)
        np.testing.assert_allclose(to_array(tensor.bfloat16()), FLOATS, atol=1 / 128)
    with pytest.raises(
        ValueError, match=r"\(3, 5, 7\): must be .* or \(H, W, 3\); channels come last: tensor\.movedim"
    ):
        to_array(levels.movedim(-1, 0))
    np.testing.assert_array_equal(to_array(levels.movedim(-1, 0).movedim(-3, -1)), PIXELS)


@pytest.mark.parametrize("shape", [(3, 8, 9), (2, 3, 8, 9)])
def test_channels_first_are_not_guessed_but_named(shape):
    with pytest.raises(ValueError, match=r"must be \(N, H, W, 3\) or \(H, W, 3\); channels come last"):
        to_array(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("kind", [str, epath.Path, lambda path: path])
def test_paths(tmp_path, kind):
    path = tmp_path / "picture.png"
    Image.fromarray(PIXELS).save(path)
    np.testing.assert_array_equal(to_array(kind(path)), PIXELS)
    np.testing.assert_array_equal(to_array(kind(path), values=ValueRange("uint16", 0, 65535)), PIXELS.astype(int) * 257)
    with pytest.raises(UserError, match="none.png: no such file"):
        to_array(kind(tmp_path / "none.png"))
    path.write_text("no picture")
    with pytest.raises(UserError, match="picture.png: not a readable image"):
        to_array(kind(path))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_pil_image_is_what_its_file_would_be(tmp_path, mode, channels):
    image = Image.fromarray(PIXELS).convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image, np.uint16) * 257)
    path = tmp_path / ("picture.tif" if mode == "CMYK" else "picture.png")
    image.save(path)
    found = to_array(image, channels)
    assert found.shape == (5, 7, channels) and found.dtype == np.uint8
    np.testing.assert_array_equal(found, to_array(path, channels))


def test_a_pil_image_is_turned_upright_as_its_file_is(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PIXELS).save(tmp_path / "turned.png", exif=exif)
    turned = np.rot90(PIXELS, -1)
    np.testing.assert_array_equal(to_array(tmp_path / "turned.png"), turned)
    np.testing.assert_array_equal(to_array(Image.open(tmp_path / "turned.png")), turned)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, jnp.bfloat16])
def test_floats_beyond_rounding_are_refused_with_their_range(dtype):
    eps = float(jnp.finfo(dtype).eps)
    low, high = (float(f(to_array(np.asarray(FLOATS * (1 + eps), dtype)))) for f in (np.min, np.max))
    assert low >= -1 and high <= 1
    with pytest.raises(ValueError, match=r"from 0 to 255: floating ones must be in \[-1, 1\]; .* uint8 in \[0, 255\]"):
        to_array(np.asarray(np.linspace(0, 255, 105).reshape(5, 7, 3), dtype))
    with pytest.raises(ValueError, match=r"from -1\.5 to 1"):
        to_array(np.asarray(np.linspace(-1.5, 1, 105).reshape(5, 7, 3), dtype))


@pytest.mark.parametrize("values", [UINT8, ValueRange("float32", -2, 5)])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(values, bad):
    floats = FLOATS.copy()
    floats[2, 3, 1] = bad
    with pytest.raises(ValueError, match=r"NaN or infinity, beside values from -\S+ to \S+: all must be"):
        to_array(floats, values=values)
    with pytest.raises(ValueError, match="hold NaN or infinity: all must be finite"):
        to_array(np.full((5, 7, 3), bad), values=values)


def test_floats_of_a_model_of_floats_have_their_own_range():
    np.testing.assert_array_equal(to_array(FLOATS * 40, values=ValueRange("float32", -2, 5)), FLOATS * 40)


@pytest.mark.parametrize("image", [None, object(), ["a.png", "b.png"], {"a": 1}])
def test_what_is_no_picture(image):
    with pytest.raises(ValueError, match=r"must be one path or PIL image, or an array|images of shape"):
        to_array(image)


def test_it_leaves_the_callers_array_alone():
    floats = FLOATS * np.float32(1 + 1e-6)
    before = floats.copy()
    to_array(floats)
    np.testing.assert_array_equal(floats, before)
    assert isinstance(to_array(jax.device_put(PIXELS)), np.ndarray)
