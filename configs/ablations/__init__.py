"""The ablations of Isola et al. 2017, on facades; names as `ablations/l1`."""
