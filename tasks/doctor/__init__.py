"""Whether this machine and a work folder can do what a run needs: packages, cards, Ray, places, processes."""
