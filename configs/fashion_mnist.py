"""DDPM with 50 steps on one class of Fashion-MNIST, sneakers unless told otherwise.

python launch.py --config configs/fashion_mnist.py
python launch.py --config configs/fashion_mnist.py --config.data.name=mnist --config.data.only_label=3
"""

from ml_collections import ConfigDict

from configs import mnist_ddpm


def get_config() -> ConfigDict:
    config = mnist_ddpm.get_config()
    config.data.name = "fashion_mnist"
    config.data.only_label = 7
    config.model.class_conditional = False
    config.model.time_input = "index"
    # The betas of 1000 steps, twenty times as large: alpha_bar ends where the published ones do.
    config.schedule = {"name": "discrete_linear", "num_steps": 50, "beta_start": 2e-3, "beta_end": 0.4}
    config.parameterization = {"name": "eps"}
    config.loss.weighting = {"name": "uniform"}
    config.loss.time_density = {"name": "discrete_uniform"}
    config.loss.stratified = False
    config.train.num_steps = 1500
    config.sampler.name = "ddpm"
    config.sampler.num_steps = 50
    config.sampler.grid = "trailing"
    config.sampler.guidance_scale = 1.0
    return config
