"""Networks and what runs through them: backbones, segmenters, checkpoints, peaks."""
