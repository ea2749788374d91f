"""Scored reenactments as tables, pictures, plots and words."""
