"""Triton kernels with a backward pass, for the layers of a training step; each file begins with what it computes."""
