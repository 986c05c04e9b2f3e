"""A budget of bytes: what of a method's set fits in it."""

from dataclasses import replace

from rich.filesize import decimal as size_text

from decoct.core.bytes import bytes_of
from decoct.data.images import Images
from decoct.methods.sizes import Sizes
from decoct.models.registry import NetworkConfig
from decoct.run.recipe import Recipe
from decoct.run.sizes import dimensions_of, sizes_of

# A labeller of half the width teaches a small student as well, so images are worth more bytes.
_LABELLERS_SHARE = 1 / 3
_NARROWEST = 8  # channels


def size_within(budget: int, *, recipe: Recipe, method: str, images: Images) -> int:
    """How many images a method's set holds within `budget` bytes; `images` are the pool."""
    return recipe.configured(method).images_in(budget, _sizes(recipe, images))


def within_budget(recipe: Recipe, images: Images) -> tuple[Recipe, str]:
    """The recipe whose set fits in its `budget`, and a line that says what was chosen and why.

    `images` are the pool. A labeller that would take more than a third of the budget is made
    narrower, by halves. Raises `DecoctError` if not even one image fits.
    """
    budget = bytes_of(recipe.budget)
    fitted = _with_small_labeller(recipe, images, budget)
    method = fitted.configured(fitted.method)
    sizes = _sizes(fitted, images)
    size = method.images_in(budget, sizes)
    fixed = method.fixed_bytes(sizes)
    labeller = f"{_said(fitted.assistant.network)} to label views ({size_text(fixed)}), and "
    each = size_text(round(method.bytes_an_image(sizes)))
    said = f"{recipe.budget} hold {labeller * bool(fixed)}{size:,} images of about {each}"
    return replace(fitted, size=size, budget=""), said


def _with_small_labeller(recipe: Recipe, images: Images, budget: int) -> Recipe:
    network = recipe.assistant.network
    while network.width >= 2 * _NARROWEST:
        sizes = _sizes(recipe, images)
        if recipe.configured(recipe.method).fixed_bytes(sizes) <= _LABELLERS_SHARE * budget:
            break
        network = replace(network, width=network.width // 2)
        recipe = recipe.set("assistant.network", network)
    return recipe


def _sizes(recipe: Recipe, images: Images) -> Sizes:
    return sizes_of(recipe, images, dimensions=dimensions_of(recipe))


def _said(network: NetworkConfig) -> str:
    return f"a {network.name} of width {network.width}" if network.width else f"a {network.name}"
