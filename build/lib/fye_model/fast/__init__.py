"""The same networks with blocks and kernels of our own: exact, switched on and off as a whole."""
