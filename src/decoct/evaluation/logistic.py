"""Multinomial logistic regression: many small problems in one batch, on any device."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

_MEMORY = 6  # steps that L-BFGS remembers: 5 to 20 needed equally many iterations
_MOST = 5000  # iterations

Objective = Callable[[Tensor], tuple[Tensor, Tensor]]


class Logistic:
    """Many problems of n examples each, solved in lockstep at one penalty after another.

    `features` is T x n x F. `labels` (int64) has a line for each fit; T tables and K T lines say
    that each table serves K fits in turn. Rows labelled -1 are ignored. Single precision is three
    times faster and reaches a tolerance of about 1e-5.

    In the basis of the features' principal directions the Hessian is nearly diagonal, about
    s^2 / (n classes) + 2 penalty. Scaling by it makes L-BFGS converge in tens of steps.
    """

    def __init__(
        self,
        features: Float[Tensor, "table example feature"],
        labels: Int64[Tensor, "fit example"],
        *,
        classes: int,
    ) -> None:
        tables, n, _ = features.shape
        there = (labels >= 0).to(features.dtype)
        used = there.view(tables, -1, n).amax(1).unsqueeze(2)  # T x n x 1: by one fit or more
        self.mean = (features * used).sum(1, keepdim=True) / used.sum(1, keepdim=True)
        x, self.directions = turn((features - self.mean) * used)
        self.count = there.sum(1).view(-1, 1, 1)  # B x 1 x 1, like every per-problem number
        self.squares = (there.view(tables, -1, n) @ x.square()).view(len(labels), 1, -1)
        self.x = torch.cat([x, used], 2)  # T x n x r + 1: the last column is the intercept's
        self.shares = there.unsqueeze(1) / self.count
        one_hot = labels.unsqueeze(1) == torch.arange(classes, device=labels.device).view(-1, 1)
        self.one_hot = one_hot.to(features.dtype)  # B x classes x n
        self.weights = x.new_zeros(len(labels), classes, self.x.shape[2])

    def log_p(
        self, weights: Float[Tensor, "fit classes turned"] | None = None
    ) -> Float[Tensor, "fit classes example"]:
        """The logarithms of all rows' probabilities, by the last solution unless told otherwise."""
        weights = self.weights if weights is None else weights
        by_table = weights.view(len(self.x), -1, weights.shape[2])  # one product for K fits
        return (by_table @ self.x.mT).view(*weights.shape[:2], -1).log_softmax(1)

    def fit(
        self, penalty: Float[Tensor, " fit"], *, tolerance: float = 1e-7
    ) -> tuple[Float[Tensor, "fit feature classes"], Float[Tensor, "fit 1 classes"]]:
        """Minimise mean cross-entropy + penalty * |W|^2, starting from the last solution.

        `penalty` has one entry per problem, B. Returns the weights W, B x F x classes, and the
        intercepts, B x 1 x classes, which are not penalised. scikit-learn's LogisticRegression has
        C = 1 / (2 n penalty). `tolerance` bounds the largest entry of the final scaled gradient.

        >>> x, labels = torch.tensor([[[-1.0], [1.0]]]), torch.tensor([[0, 1]])
        >>> weights, intercept = Logistic(x, labels, classes=2).fit(torch.tensor([0.1]))
        >>> (x @ weights + intercept).argmax(2)
        tensor([[0, 1]])
        """
        shape, (tables, _, columns) = self.weights.shape, self.x.shape
        double = 2 * penalty.to(self.x).view(-1, 1, 1)
        curvature = self.squares / (self.count * shape[1]) + double
        scale = torch.cat([curvature, torch.full_like(double, 1 / shape[1])], 2).rsqrt()
        pull = torch.cat([double.expand_as(curvature), torch.zeros_like(double)], 2)

        def objective(flat: Tensor) -> tuple[Tensor, Tensor]:
            weights = flat.view(shape) * scale
            log_p = self.log_p(weights)
            residual = ((log_p.exp() - self.one_hot) * self.shares).view(tables, -1, log_p.shape[2])
            pulled = weights * pull
            cross_entropy = -(log_p * self.one_hot * self.shares).sum((1, 2))
            loss = cross_entropy + (pulled * weights).sum((1, 2)) / 2
            return loss, (((residual @ self.x).view(shape) + pulled) * scale).flatten(1)

        flat = minimise(objective, (self.weights / scale).flatten(1), tolerance=tolerance)
        self.weights = flat.view(shape) * scale
        turned = self.weights[:, :, :-1].reshape(tables, -1, columns - 1)
        by_feature = turned @ self.directions  # T x K classes x F
        offsets = (by_feature @ self.mean.mT).view(*shape[:2], 1)
        weights = by_feature.view(*shape[:2], -1)
        return weights.mT, (self.weights[:, :, -1:] - offsets).mT


def turn(centred: Tensor) -> tuple[Tensor, Tensor]:
    """Centred features along principal directions, B x n x r, and the directions, B x r x F.

    Any basis gives the same solution; a good one gives it sooner. With many more features than
    examples it is each problem's own, of n directions, by the Gram matrix of its examples.
    Otherwise the first problem's serves all, for they are draws of one task and much alike.
    """
    # In single precision, squaring would lose small singular values.
    if 2 * centred.shape[1] > centred.shape[2]:
        first = centred[0].double()
        basis = torch.linalg.eigh(first.mT @ first).eigenvectors.to(centred)
        return centred @ basis, basis.mT.expand(len(centred), -1, -1)
    x = centred.double()
    squares, vectors = torch.linalg.eigh(x @ x.mT)
    squares = torch.where(squares > 1e-12 * squares[:, -1:], squares, 0)  # drop rounding errors
    inverse = torch.where(squares > 0, squares, torch.inf).rsqrt()
    directions = (vectors * inverse.unsqueeze(1)).mT @ x
    return (vectors * squares.sqrt().unsqueeze(1)).to(centred), directions.to(centred)


def minimise(objective: Objective, start: Tensor, *, tolerance: float) -> Tensor:
    """Minimise B smooth, strictly convex functions of P numbers by L-BFGS: B x P.

    `objective` maps B x P to B values and B x P gradients. Each iteration tries one step of every
    problem. If a step was too long, only that problem stays and tries half of it next.

    >>> minimise(lambda x: ((x - 3).square().sum(1), 2 * (x - 3)), torch.zeros(1, 2), tolerance=0.1)
    tensor([[3., 3.]])
    """
    at, (value, gradient) = start, objective(start)
    steps = changes = start.new_zeros(len(start), _MEMORY, start.shape[1])  # the oldest first
    length = start.new_ones(len(start), 1)
    for _ in range(_MOST):
        unfinished = gradient.abs().amax(1, keepdim=True) > tolerance
        if not unfinished.any():
            break
        direction = _quasi_newton(gradient, steps, changes)
        there = at + unfinished * length * direction
        there_value, there_gradient = objective(there)
        slope, there_slope = ((direction * g).sum(1) for g in (gradient, there_gradient))
        lower = there_value <= value + 1e-4 * length.squeeze(1) * slope
        # If values differ only by rounding, slopes decide (Hager & Zhang 2005, eq. 23).
        level = there_value <= value + 10 * torch.finfo(value.dtype).eps * value.abs()
        good = (lower | (level & (there_slope <= -0.8 * slope))).unsqueeze(1)
        step, change = there - at, there_gradient - gradient
        kept = good & ((step * change).sum(1, keepdim=True) > 0)
        steps = torch.cat([steps[:, 1:], torch.where(kept, step, 0).unsqueeze(1)], 1)
        changes = torch.cat([changes[:, 1:], torch.where(kept, change, 0).unsqueeze(1)], 1)
        at, gradient = torch.where(good, there, at), torch.where(good, there_gradient, gradient)
        value = torch.where(good.squeeze(1), there_value, value)
        length = torch.where(good, 1.0, length / 2)
    return at


def _quasi_newton(gradient: Tensor, steps: Tensor, changes: Tensor) -> Tensor:
    """L-BFGS's direction, by the compact formula of Byrd, Nocedal & Schnabel (1994, theorem 2.2).

    `gradient` is B x P; `steps` and the `changes` of the gradient along them are B x m x P, the
    oldest first, filled up with zeros.
    """
    g = gradient.unsqueeze(2)
    products, squares = steps @ changes.mT, changes @ changes.mT  # B x m x m
    curved = products.diagonal(dim1=1, dim2=2)
    known = curved > 0
    newest = (known * torch.arange(1, known.shape[1] + 1, device=g.device)).argmax(1, keepdim=True)
    sizes = torch.where(known, curved / squares.diagonal(dim1=1, dim2=2), 1)
    size = sizes.gather(1, newest).unsqueeze(2)  # of the inverse Hessian, B x 1 x 1
    upper = products.triu() + torch.diag_embed((~known).to(g.dtype))
    p = torch.linalg.solve_triangular(upper, steps @ g, upper=True)
    middle = curved.unsqueeze(2) * p + size * (squares @ p - changes @ g)
    q = torch.linalg.solve_triangular(upper.mT, middle, upper=False)
    direction: Tensor = size * (changes.mT @ p - g) - steps.mT @ q
    return direction.squeeze(2)
