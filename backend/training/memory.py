"""Memory that runs out: how it shows, and work that is done in smaller parts then."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

# As the CPU's allocator, CUDA, cuBLAS and MPS say it; they share no exception class.
_SIGNS = ("out of memory", "can't allocate memory", "not enough memory", "cublas_status_alloc_failed")


def out_of_memory(error: BaseException) -> bool:
    """Whether this is an allocation that failed."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _SIGNS)


def free_memory() -> None:
    """Give back what the allocator of the device keeps for later."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()


def done_in_parts(
    batches: Sequence[Sequence[int]], work: Callable[[Sequence[int]], None], check: Callable[[], None]
) -> Iterator[Sequence[int]]:
    """Do ``work`` on each of ``batches`` of rows, one after the other, and yield it then.

    One that does not fit in memory is done in halves. ``check`` is called before each, and may raise. Raises what
    ``work`` raises, of a single row memory that ran out, too.
    """
    pending = list(batches)[::-1]
    while pending:
        check()
        batch = pending.pop()
        try:
            work(batch)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error) or len(batch) == 1:
                raise
            middle = len(batch) // 2
            pending += [batch[middle:], batch[:middle]]
        else:
            yield batch
            continue
        free_memory()
