"""Follow-Your-Emoji: expression-aware landmarks, networks, training, animation and metrics.

The library half of the project. It imports neither Prefect, Ray, MediaPipe nor decord: what trains or animates
on a GPU machine needs torch, diffusers, transformers, numpy, pyarrow and pydantic, and nothing else.
"""
