"""The convolutions of the networks, in the forms that are fast on a CPU, on GPUs and elsewhere."""
