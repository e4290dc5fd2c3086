"""A page that is served, by the tiny run's model."""

import pytest
from serving import serving

from pix2pix_jax.demo import serve
from pix2pix_jax.inference import trained_model


@pytest.fixture(scope="session")
def model(trained):
    return trained_model.load(trained)


@pytest.fixture(scope="session")
def page(model, trained):
    """The server of the model's page, in a thread of its own."""
    with serving(serve.make_server(model, trained, host="127.0.0.1", port=0)) as server:
        yield server
