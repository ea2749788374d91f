"""What an animation is made of: what is asked for, faces and motion, sampling, how results are shown and kept."""
