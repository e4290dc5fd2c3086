"""TFDS builders of the published sets; the only package that imports tensorflow_datasets.

Importing this package alone imports nothing heavy: `builders.pix2pix` registers the builder,
`builders.prepare` downloads and builds.
"""
