"""Weights that take other bytes than their elements: quantized, packed.

`params` counts the numbers that a weight stands for, `memory.parameters` the bytes that it is
stored in. What PyTorch packs into script objects the core looks into itself; here are the weights
of a checkpoint that a config describes (`store_as_config_says`), and parameters of libraries whose
elements are not their numbers (`stored_form`).
"""

from nnprof.tracing.quantization.checkpoints import notes_of, store_as_config_says
from nnprof.tracing.quantization.parameters import stored_form

__all__ = ["notes_of", "store_as_config_says", "stored_form"]
