"""Recipes that need no weights from elsewhere, as overrides on `Recipe` (the paper's); presets for screening.

`DEMO` goes the whole way from videos to a scored model in minutes: everything is trained from scratch on the few clips
at hand, the autoencoder included, so sizes are as small as still learns. `DEBUG` goes the same way in seconds and
learns nothing: every part is the real one, at the smallest size that has all of its layers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the command line reads the names, and has no need of pydantic
    from pydantic import JsonValue

DEMO: dict[str, JsonValue] = {
    # tight: at 96 pixels an eye is then two latent cells wide, and a mouth three
    "clips": {"size": 96, "max_frames": 250, "margin": 0.15},
    "screening": {"min_sharpness": 0.0},
    # one face has no second subject to hold out
    "split": {"by": "tail", "holdout": 0.2},
    "autoencoder": {
        "block_out_channels": [16, 16, 32, 64],
        "layers_per_block": 1,
        "norm_num_groups": 8,
        "fit_steps": 1200,
        "fit_batch_size": 8,
        "fit_learning_rate": 2e-3,
        # a cell has room for little, and eyes and lips are a small part of a frame
        "fit_expression_weight": 4.0,
    },
    "image_encoder": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "layers": 2,
        "heads": 4,
        "image_size": 64,
        "patch_size": 16,
    },
    "networks": {
        "block_out_channels": [32, 64, 128],
        "layers_per_block": 1,
        "attention_heads": 2,
        "cross_attention_dim": 64,
        "norm_num_groups": 8,
        "motion_heads": 2,
        "landmark_channels": [8, 16, 32, 64],
        "qformer_layers": 2,
        "qformer_tokens": 4,
        "qformer_heads": 4,
    },
    "train": {
        "stage1": {
            "steps": 1200,
            "batch_size": 8,
            "learning_rate": 2e-3,
            "warmup_steps": 20,
            "decay": "cosine",
            "checkpoint_every": 400,
            "validate_every": 400,
            "precision": "fp32",
        },
        "stage2": {
            "steps": 100,
            "batch_size": 2,
            "frames": 8,
            "learning_rate": 1e-3,
            "warmup_steps": 10,
            "decay": "cosine",
            "checkpoint_every": 50,
            "validate_every": 50,
            "precision": "fp32",
        },
        # what an expression moves is a few cells: without more weight they are learned last
        "loss": {"lambda_expression": 4.0, "lambda_face": 1.0},
        # a hundred steps meet an all-covered clip too rarely when frames are covered one by one
        "covering": {"all_but_ends": 0.4, "everything": 0.3},
    },
    # a few steps: what so small a model adds in more of them is noise; most of it is the same in all frames, or it
    # flickers after so few steps of stage 2
    "sampling": {"steps": 5, "guidance_scale": 1.0, "window": 8, "shared_noise": 0.9},
    "selection": {"clips": 3, "frames": 8, "sampling_steps": 3},
    "evaluation": {"frames": 24, "size": 96, "window": "moving"},
}

# for a GPU of 24 GB or more and some minutes of footage, from nothing
SMALL: dict[str, JsonValue] = {
    "clips": {"size": 256, "margin": 0.25},
    "screening": {"min_sharpness": 0.0},
    # a few people at most: the end of every clip is held out
    "split": {"by": "tail", "holdout": 0.2},
    "autoencoder": {
        "block_out_channels": [64, 128, 256, 256],
        "latent_channels": 8,
        "fit_steps": 1500,
        "fit_batch_size": 16,
        "fit_learning_rate": 1e-3,
        "fit_expression_weight": 2.0,
    },
    "image_encoder": {
        "hidden_size": 128,
        "intermediate_size": 256,
        "layers": 2,
        "heads": 4,
        "image_size": 128,
        "patch_size": 16,
    },
    "latents": {"references": 32, "jitter": {"crops": 3}},
    "networks": {
        "block_out_channels": [128, 256, 512],
        "layers_per_block": 2,
        "cross_attention_dim": 256,
        "landmark_channels": [16, 32, 96, 256],
        "qformer_heads": 4,
    },
    "train": {
        "stage1": {
            "steps": 3600,
            "batch_size": 32,
            "learning_rate": 3e-4,
            "warmup_steps": 100,
            "decay": "cosine",
            "checkpoint_every": 1200,
            "validate_every": 1200,
            "working_weights": "bf16",
        },
        "stage2": {
            "steps": 1200,
            "batch_size": 4,
            "frames": 16,
            "learning_rate": 2e-4,
            "warmup_steps": 50,
            "decay": "cosine",
            "checkpoint_every": 400,
            "validate_every": 400,
            "working_weights": "bf16",
        },
        # an expression term of weight 4 cost the rest of the picture more than it brought (docs/training.md)
        "loss": {"lambda_expression": 0.0, "lambda_face": 1.0},
        "covering": {"all_but_ends": 0.4, "everything": 0.3},
    },
    "sampling": {"steps": 10, "guidance_scale": 1.5, "window": 16, "shared_noise": 0.9},
    "selection": {"clips": 4, "frames": 16},
    "evaluation": {"frames": 64, "size": 256, "protocol": "far", "window": "moving"},
}

DEBUG: dict[str, JsonValue] = {
    "clips": {"size": 64, "min_frames": 16, "max_frames": 64},
    "screening": {"min_sharpness": 0.0, "min_valid_frames": 16},
    "split": {"by": "tail", "holdout": 0.2},
    "autoencoder": {
        "block_out_channels": [8, 8, 16, 16],
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "fit_steps": 2,
        "fit_batch_size": 2,
    },
    "image_encoder": {
        "hidden_size": 16,
        "intermediate_size": 32,
        "layers": 1,
        "heads": 2,
        "image_size": 32,
        "patch_size": 16,
    },
    "latents": {"references": 4},
    "networks": {
        "block_out_channels": [8, 16],
        "layers_per_block": 1,
        "attention_heads": 2,
        "cross_attention_dim": 16,
        "norm_num_groups": 4,
        "motion_heads": 2,
        "landmark_channels": [4, 4, 8, 8],
        "qformer_layers": 1,
        "qformer_tokens": 2,
        "qformer_heads": 2,
    },
    "train": {
        "stage1": {
            "steps": 4,
            "batch_size": 2,
            "checkpoint_every": 2,
            "validate_every": 2,
            "validation_batches": 1,
            "precision": "fp32",
        },
        "stage2": {
            "steps": 2,
            "batch_size": 1,
            "frames": 4,
            "checkpoint_every": 1,
            "validate_every": 1,
            "validation_batches": 1,
            "precision": "fp32",
        },
    },
    "sampling": {"steps": 2, "guidance_scale": 1.0, "window": 4},
    "selection": {"clips": 1, "frames": 2, "sampling_steps": 1},
    "evaluation": {"frames": 3, "size": 64, "clips": 1},
}

# The paper's training on cards of 24 and 80 GB: the same numbers, computed in smaller parts. What a card holds at a
# time was measured with `tests/benchmarks/train_step.py`.
PAPER_24: dict[str, JsonValue] = {
    "train": {
        "stage1": {"accumulate": 16, "gradient_checkpointing": True, "working_weights": "bf16"},
        "stage2": {"accumulate": 32, "gradient_checkpointing": True, "working_weights": "bf16"},
    },
}
PAPER_80: dict[str, JsonValue] = {
    "train": {
        "stage1": {"accumulate": 2, "working_weights": "bf16"},
        "stage2": {"accumulate": 16, "working_weights": "bf16"},
    },
}

# what `--recipe NAME` knows, each as overrides on `Recipe`; a new recipe is a line here
NAMED: dict[str, dict[str, JsonValue]] = {
    "paper": {},
    "paper-24gb": PAPER_24,
    "paper-80gb": PAPER_80,
    "demo": DEMO,
    "small": SMALL,
    "debug": DEBUG,
}

# What `screening.preset` fills in. TalkVid (Chen et al. 2025, arXiv 2508.13618): the thresholds of its published head
# filter (data_pipeline/3_head_detail_filtering), turned from scores into the quantities that they are made of. It looks
# at the whole picture, we at the square clip that training sees; its filters for picture quality and camera motion need
# models and are not here.
SCREENING_PRESETS: dict[str, dict[str, float]] = {
    "default": {},
    "talkvid": {
        "max_mean_movement": 0.2,  # its movement score, 100 - 100 x: 80 on average, 60 at least
        "max_movement": 0.4,
        "max_mean_turn_deg": 30.0,  # rotation, 100 - x: 70 and 60
        "max_turn_deg": 40.0,
        "max_mean_off_axis_deg": 54.0,  # orientation, 100 - x / 1.8: 70 and 30
        "max_off_axis_deg": 126.0,
        "min_inside": 1.0,  # completeness: 100 always
        "min_mean_face_area": 0.5 / 30,  # resolution, 3000 x: 50 and 40
        "min_face_area": 0.4 / 30,
        "max_not_alone": 1,  # face consistency, 20 points a second off: 80
    },
}
