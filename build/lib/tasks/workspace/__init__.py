"""What a work folder is made of: run, data set, sources, recipes, what is published."""
