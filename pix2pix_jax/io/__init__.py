"""Files on a disk or in a bucket, downloads, and PyTorch's files of weights."""
