"""Work on items ahead of their use, in threads; the results come in the items' order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def ahead(
    work: Callable[[A], B], items: Iterable[A], *, most: int, threads: int = 1
) -> Iterator[tuple[A, B]]:
    """Yield each item with the result of `work`, which starts up to `most` items before.

    At most `most` + 1 results are in memory. An error in `work` is raised here. The threads end
    with the iterator, however that ends.

    >>> list(ahead(str, [3, 1], most=2))
    [(3, '3'), (1, '1')]
    """
    pending: deque[tuple[A, Future[B]]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decoct-ahead")
    try:
        for item in items:
            pending.append((item, pool.submit(work, item)))
            if len(pending) > most:
                first, result = pending.popleft()
                yield first, result.result()
        for first, result in pending:
            yield first, result.result()
    finally:
        pool.shutdown(cancel_futures=True)
