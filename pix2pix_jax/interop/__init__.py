"""Interoperability with pytorch-CycleGAN-and-pix2pix: its weights to a workdir, and back."""
