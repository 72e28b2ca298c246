"""Digits told by a sentence: the recipe of configs/digits_conditional.py with captions instead of labels.

    python launch.py --config experiments/context/config.py
    python launch.py --config experiments/context/config.py --config.conditions.text.form=tokens

The network has attention at 4x4, where it attends to the tokens of a sentence if it is told tokens. It needs
pip install 'diffax[text]' and make text-encoder.
"""

from ml_collections import ConfigDict

from configs import digits_conditional
from diffax import config as settings


def get_config() -> ConfigDict:
    config = digits_conditional.get_config()
    config.data = settings.choice("experiments.context.captions:digits")
    config.model.attention_resolutions = (4,)
    config.conditions = {"text": settings.choice("text", encoder="all-minilm-l6-v2", form="vector", drop=0.1)}
    return config
