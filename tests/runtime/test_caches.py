"""Where compiled programs are kept, and that a user's own choice is left alone."""

import pathlib

import jax
import pytest

from pix2pix_jax.runtime import caches


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A user who has told JAX nothing; what the tests' session has told it is put back."""
    before = jax.config.jax_compilation_cache_dir
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    jax.config.update("jax_compilation_cache_dir", None)
    yield tmp_path
    jax.config.update("jax_compilation_cache_dir", before)


def place() -> str | None:
    caches.keep_compiled_programs()
    return jax.config.jax_compilation_cache_dir


def test_compiled_programs_are_kept_in_the_users_cache(home):
    assert place() == str(home / "pix2pix_jax" / "xla")
    assert pathlib.Path(place()).is_dir()


def test_a_place_that_jax_was_told_is_left_alone(home):
    jax.config.update("jax_compilation_cache_dir", str(home / "own"))
    assert place() == str(home / "own")


@pytest.mark.parametrize("said", ["", "/somewhere"])
def test_the_environment_is_left_alone(home, monkeypatch, said):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", said)  # which JAX has read before, or will not
    assert place() is None


def test_none_is_made_where_jax_keeps_nothing(home):
    jax.config.update("jax_enable_compilation_cache", False)
    assert place() is None and not any(home.iterdir())
    jax.config.update("jax_enable_compilation_cache", True)


def test_a_folder_that_cannot_be_made_is_done_without(home):
    (home / "pix2pix_jax").write_text("a file")
    assert place() is None
