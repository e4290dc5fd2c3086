"""Files on a disk or in a bucket, downloads, and the formats of others that hold arrays."""
