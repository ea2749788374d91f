"""The same networks with kernels of our own: exact, switched on and off as a whole."""
