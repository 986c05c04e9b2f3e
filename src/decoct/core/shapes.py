"""The shapes of arrays, as types: what a function takes and returns, checked while tests run.

Within one call, axes with the same name have the same length; for example, the images and targets
of one call are equal in number. An axis named `_` may have any length.
"""

from jaxtyping import Float, Int64, UInt8
from torch import Tensor

Scalar = Float[Tensor, ""]
Pictures = Float[Tensor, "image channel height width"]  # normalised, or from 0 to 1
Pixels = UInt8[Tensor, "image channel height width"]
Rows = Float[Tensor, "image dimension"]  # targets, one row per image
Features = Float[Tensor, "image feature"]
Parameters = Float[Tensor, " parameter"]  # of a network, flattened to one vector
ByChannel = Float[Tensor, " channel"]  # means or standard deviations
PerImage = Float[Tensor, "image *_"]  # one number per image; trailing axes of length 1 are allowed
Index = Int64[Tensor, " _"]  # of images
