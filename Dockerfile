# pix2pix on a CPU, or with --build-arg EXTRA=cuda13 (or cuda12) on NVIDIA GPUs. See docs/installing.md.
FROM python:3.11-slim

ARG EXTRA=train
WORKDIR /opt/pix2pix_jax
COPY setup.cfg pyproject.toml README.md LICENSE ./
COPY configs configs
COPY pix2pix_jax pix2pix_jax
# CUDA's libraries come as packages; the driver is the host's.
RUN pip install --no-cache-dir ".[${EXTRA}]"

# Compiled programs and downloaded data sets; mount a volume here to keep them.
ENV XDG_CACHE_HOME=/cache TFDS_DATA_DIR=/cache/tensorflow_datasets
WORKDIR /
ENTRYPOINT ["pix2pix"]
CMD ["--help"]
