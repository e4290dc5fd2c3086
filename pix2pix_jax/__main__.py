"""`python -m pix2pix_jax` is `pix2pix`."""

import sys

from pix2pix_jax.cli import main

sys.exit(main())
