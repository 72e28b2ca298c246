"""Diffusion and flow models in JAX: pure functions and small frozen objects, in rooms that are imported by name.

    from diffax import schedules, denoisers, samplers

Importing diffax itself loads nothing else and changes no setting.
"""

__version__ = "0.1.0"
