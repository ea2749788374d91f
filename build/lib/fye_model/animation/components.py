"""The name under which a model folder records our networks.

To load a component, diffusers imports the module that `model_index.json` names and looks there for the class and, by
name, for the base class that tells it how the component is loaded. This module has both.
"""

from diffusers.models.modeling_utils import ModelMixin

from fye_model.networks.appearance_net import AppearanceNet
from fye_model.networks.denoiser import Denoiser
from fye_model.networks.image_prompt import ImagePrompt
from fye_model.networks.landmark_encoder import LandmarkEncoder

__all__ = ["AppearanceNet", "Denoiser", "ImagePrompt", "LandmarkEncoder", "ModelMixin"]
