"""The shapes of arrays, as types: what a function takes and gives, checked when tests run.

Within one call the same axis has the same length, so that images and targets of one call are as
many. An axis named `_` may have any length.
"""

from jaxtyping import Float, Int64, UInt8
from torch import Tensor

Scalar = Float[Tensor, ""]
Pictures = Float[Tensor, "image channel height width"]  # normalised, or from 0 to 1
Pixels = UInt8[Tensor, "image channel height width"]
Rows = Float[Tensor, "image dimension"]  # targets, a row an image
Features = Float[Tensor, "image feature"]
Parameters = Float[Tensor, " parameter"]  # of a network, in one vector
ByChannel = Float[Tensor, " channel"]  # means and deviations
PerImage = Float[Tensor, "image *_"]  # a number an image, perhaps with axes of length 1 behind
Index = Int64[Tensor, " _"]  # of images
