"""Image files and arrays: decoding, bit depths, value ranges."""
