"""Video and sound in and out."""
