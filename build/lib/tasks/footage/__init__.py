"""Sources of footage: what a source is, which files it has, which spans of them are taken, and whom they show."""
