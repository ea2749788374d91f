"""The landmark model, and faces found and followed with it."""
