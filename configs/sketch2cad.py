"""Hand-drawn sketches -> CAD drawings: your own pairs of 864x288 pixels, two halves of 432x288.

Command: pix2pix train --config=sketch2cad --config.data_dir=DIR --workdir=runs/cad
         (--config.direction=BtoA if the sketch is the right half)
Recipe:  that of the paper's facades. Halves are resized to a square for training; translations come back at the size
         of their inputs. No mirroring: drawings carry text.
Measured: not yet; no GPU has been at hand.
"""

from pix2pix_jax.configs import default


def get_config():
    config = default.get_config()
    config.dataset = "folder"
    config.mirror = False
    return config
