"""The networks: appearance net, denoiser, landmark encoder, image prompt, and the frozen encoders beside them."""

from fye_model.networks.build import build_networks, component_arguments
from fye_model.networks.bundle import Networks, Prepared

__all__ = ["Networks", "Prepared", "build_networks", "component_arguments"]
