"""`python -m pix2pix_jax` is `pix2pix`."""

from pix2pix_jax.cli import run

if __name__ == "__main__":
    run()
