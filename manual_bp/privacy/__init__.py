"""Training with differential privacy: the private gradient, the batches that its guarantee assumes, and the accounting.

A step draws each example into the batch independently, with the same probability (`poisson_sample`), and adds noise to
the sum of the clipped gradients (`private_value_and_grad`). `epsilon` bounds the privacy loss of all steps together, at
a given delta. Abadi et al., Deep learning with differential privacy (2016), arXiv:1607.00133.
"""

from manual_bp.privacy._accounting import epsilon as epsilon
from manual_bp.privacy._accounting import noise_multiplier as noise_multiplier
from manual_bp.privacy._poisson import Batch as Batch
from manual_bp.privacy._poisson import poisson_sample as poisson_sample
from manual_bp.privacy._private_gradient import PrivateGradient as PrivateGradient
from manual_bp.privacy._private_gradient import private_value_and_grad as private_value_and_grad

__all__ = ["Batch", "PrivateGradient", "epsilon", "noise_multiplier", "poisson_sample", "private_value_and_grad"]
