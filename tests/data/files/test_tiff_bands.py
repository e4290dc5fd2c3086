"""TIFF files in bands: what is read is what tifffile reads, and what is written is what was given."""

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pix2pix_jax.data.files import tiff_bands

SIDE = st.integers(1, 600)
KINDS = [
    {},
    {"rowsperstrip": 16},
    {"rowsperstrip": 37, "compression": "zlib"},
    {"tile": (64, 128), "compression": "lzw", "predictor": True},
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dtype", "channels"), [("uint8", 3), ("uint16", 1), ("float32", 4)])
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(height=st.integers(1, 300), width=st.integers(1, 300), data=st.data())
def test_any_rows_of_any_layout(tmp_path, kind, dtype, channels, height, width, data):
    image = np.random.default_rng(height).uniform(0, 255, (height, width, channels)).astype(dtype)
    colour = "rgb" if channels > 1 else "minisblack"
    tifffile.imwrite(tmp_path / "a.tif", image if channels > 1 else image[..., 0], photometric=colour, **kind)
    rows = tiff_bands.TiffRows(tmp_path / "a.tif", "a.tif")
    assert rows.shape == image.shape and rows.dtype == dtype
    top = data.draw(st.integers(0, height - 1))
    bottom = data.draw(st.integers(top + 1, height))
    np.testing.assert_array_equal(rows.read(top, bottom), image[top:bottom])


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    height=st.integers(1, 600), width=st.integers(1, 600), band=st.integers(1, 400), channels=st.sampled_from([1, 3])
)
def test_written_from_bands_of_any_height(tmp_path, height, width, band, channels):
    image = np.random.default_rng(band).integers(0, 256, (height, width, channels), np.uint8)
    bands = (image[top : top + band] for top in range(0, height, band))
    tiff_bands.write(tmp_path / "b.tif", bands, image.shape, "uint8")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif").reshape(image.shape), image)
