"""Digits by class, with classifier-free guidance.

python launch.py --config configs/digits_conditional.py
python launch.py --workdir runs/digits_conditional --mode sample --label 7 --guidance_scale 2
"""

from ml_collections import ConfigDict

from configs import digits_ddpm


def get_config() -> ConfigDict:
    config = digits_ddpm.get_config()
    config.model.class_conditional = True
    config.model.label_drop = 0.1
    # Stable targets know nothing of labels, and guidance takes variance away on purpose.
    config.loss.stable_targets = False
    config.sampler.epsilon_scale = 1.0
    config.sampler.guidance_scale = 1.5
    return config
