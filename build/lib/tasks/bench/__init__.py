"""A bench on disk: its manifest, what is wrong with it, what methods made of it, and the tables of scores."""
