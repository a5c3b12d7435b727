"""Work of the host: what an engine's recipe computes there beside the model, exactly; and who waits for whom.

The n-gram processor bans, before each token is chosen, every token that would repeat an n-gram among the last W output
tokens: pure Python, a comparison for each n-gram in the window, of every request in every step. With L output tokens
so far that is

    comparisons = min(L, W) - n + 1, or 0 while L < n

(vLLM's NoRepeatNGramLogitsProcessor, beside the model that it was written for). The token that prefill yields is an
output token: step i, counted from 0, has L = i + 1.

    >>> comparisons(30, 90, 29), comparisons(30, 90, 30), comparisons(30, 90, 1000)
    (0, 1, 61)
    >>> step_comparisons(30, 90, 100)
    2501
"""

from __future__ import annotations


def comparisons(ngram_size: int, window: int, outputs: int) -> int:
    """Comparisons that one token takes after `outputs` output tokens."""
    return max(min(outputs, window) - ngram_size + 1, 0)


def step_comparisons(ngram_size: int, window: int, steps: int) -> int:
    """Comparisons of the `steps` decode steps of one request together."""
    if window < ngram_size:
        return 0
    rising = min(steps, window) - ngram_size + 1  # L = n to the window's width: 1, 2, 3, ...
    if rising <= 0:
        return 0
    return rising * (rising + 1) // 2 + max(steps - window, 0) * (window - ngram_size + 1)
