"""Continuous batching of an inference engine, as a discrete-event simulation: who is in which step, and when it ends.

The rules are those of vLLM's scheduler (vllm/v1/core/sched/scheduler.py, 0.19), or as far as it is said those of
SGLang's. vLLM: in each step the running requests come
first, in their order, one token each while they decode, then those that wait, first come first served, as far as the
step's tokens, the sequences and the cache's blocks go; a prompt that is longer than what is left of the step is cut. If
a running request finds no block, the last one gives all its blocks back, goes to the head of those that wait, and is
computed again.

With asynchronous scheduling, the default since vLLM 0.14 (EngineCore.step_with_batch_queue in vllm/v1/engine/core.py,
vllm/v1/core/sched/async_scheduler.py), a step is planned when the one before it begins. So what arrives during a step,
and the place and blocks of a request that ends with it, are no part of the next step, but of the one after; an engine
with nothing else to run plans at once.

SGLang (python/sglang/srt/managers/scheduler.py at 0003215c: `get_next_batch_to_run`, `enable_mixed_chunk` off) gives a
step to prompts alone as long as any can be taken, up to `chunked_prefill_size` tokens, and else to those that decode;
its overlap (`event_loop_overlap`, on by default) plans as far ahead. Of its pool the room that it keeps for tokens to
come (`new_token_ratio`) is not modelled, nor which request it retracts: blocks are given and taken as vLLM does.

Between two events (an arrival, an end, a pool that is full) all steps are alike but for the context, which grows by one
token a request: such a run of steps is one jump, whose seconds are a closed sum. So time is that of the events, and the
result is that of the plain loop over steps. Nothing here asks what time it is.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Final, NamedTuple, Protocol

from modelmeter.errors import ModelMeterError

#: steps of one jump at most
_MOST_STEPS: Final = 2**24


class Chunk(NamedTuple):
    """A part of a prompt in a step. computed: positions before it. new: its own. kind: the request's `kind`."""

    computed: int
    new: int
    kind: int


class Decoding(NamedTuple):
    """Those that decode in a step. requests: how many. context, longest: the sum of their contexts before it, and the
    longest of them."""

    requests: int
    context: int
    longest: int

    def further(self, steps: int) -> Decoding:
        """The same after so many steps."""
        return Decoding(self.requests, self.context + self.requests * steps, self.longest + steps)


#: a step of prompts alone
NOBODY: Final = Decoding(0, 0, 0)


class StepTimes(Protocol):
    """Seconds of steps."""

    def step(self, chunks: Sequence[Chunk], decoding: Decoding) -> float:
        """One step: parts of prompts, and those that decode."""

    def run(self, decoding: Decoding, steps: int) -> float:
        """`steps` steps of decoding alone, from this one on: a sum of `step`."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an engine's scheduler is set to.

    max_num_seqs: requests that run at once. max_num_batched_tokens: of a step. blocks: of the KV cache, of `block_size`
    tokens each. max_model_len: positions of a request. encoder_tokens: image tokens that are encoded in one step at
    most, where one picture alone is not more; None: as many as a step has tokens. async_scheduling: each step is
    planned when the one before it begins. prompts_first: a step has prompts alone as long as any can be taken, and
    those that decode wait meanwhile.
    """

    max_num_seqs: int
    max_num_batched_tokens: int
    blocks: int
    block_size: int = 16
    max_model_len: int | None = None
    encoder_tokens: int | None = None
    async_scheduling: bool = False
    prompts_first: bool = False

    def __post_init__(self) -> None:
        for name in ("max_num_seqs", "max_num_batched_tokens", "blocks", "block_size"):
            if getattr(self, name) < 1:
                raise ModelMeterError(f"simulation: {name}={getattr(self, name)} is less than 1; give 1 or more.")
        if self.max_num_batched_tokens < self.max_num_seqs:
            raise ModelMeterError(
                f"simulation: max_num_batched_tokens={self.max_num_batched_tokens} is less than max_num_seqs="
                f"{self.max_num_seqs}; a step has a token at least for each request that decodes."
            )

    def blocks_of(self, tokens: int) -> int:
        """Blocks that a context of `tokens` takes."""
        return -(-tokens // self.block_size)


@dataclass(slots=True, eq=False)
class Request:
    """A page on its way. Seconds are since the beginning; None: not yet.

    arrival_s: when it was sent. prompt: positions of its prefill. outputs: tokens that it yields, the prefill's
    included; 1 or more. images: image tokens in the prompt. kind: what `StepTimes` tells prompts apart by.
    """

    number: int
    arrival_s: float
    prompt: int
    outputs: int
    images: int = 0
    kind: int = 0
    ready_s: float | None = None
    scheduled_s: float | None = None
    first_token_s: float | None = None
    done_s: float | None = None
    preemptions: int = 0
    #: positions in the cache, and positions to compute before the next token
    computed: int = field(default=0, repr=False)
    known: int = field(default=0, repr=False)
    yielded: int = field(default=0, repr=False)
    #: of the step that ends it, among all steps of decoding
    end: int = field(default=0, repr=False)

    @property
    def latency_s(self) -> float:
        """From its arrival to its last token."""
        assert self.done_s is not None
        return self.done_s - self.arrival_s

    @property
    def ttft_s(self) -> float:
        """From its arrival to its first token."""
        assert self.first_token_s is not None
        return self.first_token_s - self.arrival_s

    @property
    def tpot_s(self) -> float:
        """Between two tokens, the mean of those after the first; 0 of a request with one."""
        assert self.done_s is not None and self.first_token_s is not None
        return (self.done_s - self.first_token_s) / max(1, self.outputs - 1)


class Source(Protocol):
    """Where requests come from."""

    def next_ready(self) -> float | None:
        """When the next one can run, None if no further one is known yet."""

    def take(self, now: float) -> Iterable[Request]:
        """Those that can run by `now`, in their order."""

    def done(self, request: Request) -> None:
        """One has ended: a closed loop sends the next."""


@dataclass(frozen=True, kw_only=True)
class Served:
    """What became of all requests. seconds: from the beginning to the last token. busy_s: of the steps.

    steps: of the engine. peak_blocks: of the cache at most. most_running, most_waiting: requests at once.
    """

    requests: Sequence[Request]
    seconds: float
    busy_s: float
    steps: int
    peak_blocks: int
    most_running: int
    most_waiting: int

    @property
    def preemptions(self) -> int:
        """Times that a request was put back."""
        return sum(each.preemptions for each in self.requests)


class Engine:
    """One engine that serves a source of requests.

    Requests that decode are alike but for their contexts, so they are kept as sums: how many there are, their contexts,
    at which step each ends, and in how many steps it needs a block. A prompt that is cut has used up its step, so there
    is one at most, and it is the last of those that run.
    """

    def __init__(self, limits: Limits, times: StepTimes, source: Source) -> None:
        self.limits = limits
        self.times = times
        self.source = source
        self.now = 0.0
        self.waiting: deque[Request] = deque()
        #: in their order; of a request here, `computed` is as of step 0 of decoding
        self._decoding: dict[Request, None] = {}
        self._cut: Request | None = None
        self._free = limits.blocks
        #: what the plan of the next step does not know of yet: arrivals, and requests that ended with their blocks
        self._arrived: list[Request] = []
        self._ended = self._ended_blocks = 0
        #: steps of decoding, and the sum of contexts before the next one
        self._tick = self._context = 0
        self._ends: list[tuple[int, int, Request]] = []
        #: by context, the longest first; some have left since
        self._contexts: list[tuple[int, int, Request]] = []
        self._entered = count()
        #: requests by the step, modulo the size of a block, in which they need a further one
        self._phases = [0] * limits.block_size
        self._done: list[Request] = []
        self._steps = 0
        self._busy_s = 0.0
        self._peak_blocks = self._most_running = self._most_waiting = 0

    def serve(self) -> Served:
        """Run until nothing is left."""
        while self._admit():
            if not self._jump():
                self._step()
        return Served(
            requests=sorted(self._done, key=lambda each: each.number),
            seconds=self.now,
            busy_s=self._busy_s,
            steps=self._steps,
            peak_blocks=self._peak_blocks,
            most_running=self._most_running,
            most_waiting=self._most_waiting,
        )

    def _admit(self) -> bool:
        """Take what has arrived, waiting for it where nothing else is left; False at the end."""
        while True:
            for request in self.source.take(self.now):
                self._check(request)
                request.known = request.prompt
                self._arrived.append(request)
            if not self.limits.async_scheduling:
                self._learn()
            self._most_waiting = max(self._most_waiting, len(self.waiting) + len(self._arrived))
            if self._decoding or self._cut or self.waiting or self._arrived:
                return True
            following = self.source.next_ready()
            if following is None:
                return False
            self.now = max(self.now, following)

    def _learn(self) -> None:
        """The next plan knows of all that has arrived and ended."""
        self.waiting.extend(self._arrived)
        self._arrived.clear()
        self._free += self._ended_blocks
        self._ended = self._ended_blocks = 0

    def _check(self, request: Request) -> None:
        """Refuse what no engine of these limits can ever serve."""
        longest = request.prompt + request.outputs - 1
        if self.limits.max_model_len is not None and longest > self.limits.max_model_len:
            raise ModelMeterError(
                f"simulation: request {request.number} reaches {longest:,} positions, and max_model_len is "
                f"{self.limits.max_model_len:,}; leave it out, or say fewer output tokens."
            )
        if self.limits.blocks_of(longest) > self.limits.blocks:
            raise ModelMeterError(
                f"simulation: request {request.number} needs {self.limits.blocks_of(longest):,} blocks of the KV "
                f"cache, which has {self.limits.blocks:,}; it would wait for ever."
            )

    # steps that are alike

    def _jump(self) -> bool:
        """All steps up to the next event at once; False where the next step is one of its own."""
        batch = len(self._decoding)
        if not batch or self._cut or self._arrived or self._ended or self._fits_another():
            return False
        steps = min(self._ends[0][0] - self._tick, self._steps_with_blocks(batch), _MOST_STEPS)
        if steps < 1:
            return False
        decoding = self._in_step()
        following = None if self.waiting else self.source.next_ready()
        if following is not None and self.now + self.times.run(decoding, steps) > following:
            low, high = 0, steps  # of `low` steps the last ends before it, of `high` not
            while high - low > 1:
                middle = (low + high) // 2
                if self.now + self.times.run(decoding, middle) < following:
                    low = middle
                else:
                    high = middle
            steps = high
        self._pass(self.times.run(decoding, steps), steps)
        self._free -= self._blocks_of_steps(batch, steps)
        self._decoded(steps)
        return True

    def _fits_another(self) -> bool:
        """Whether the head of those that wait has a place in the next step."""
        batch = len(self._decoding)
        beside, blocks = (0, 0) if self.limits.prompts_first else (batch, self._phases[self._phase()])
        budget = self.limits.max_num_batched_tokens - beside
        if not self.waiting or batch >= self.limits.max_num_seqs or budget < 1:
            return False
        return self.limits.blocks_of(min(self.waiting[0].known, budget)) <= self._free - blocks

    def _phase(self) -> int:
        """Of those that need a block in the next step."""
        return -self._tick % self.limits.block_size

    def _blocks_of_steps(self, batch: int, steps: int) -> int:
        """Blocks that so many steps take from the pool."""
        whole, rest = divmod(steps, self.limits.block_size)
        return whole * batch + sum(self._phases[-(self._tick + each) % self.limits.block_size] for each in range(rest))

    def _steps_with_blocks(self, batch: int) -> int:
        """Steps for which the pool has blocks."""
        whole, left = divmod(self._free, batch)
        steps = whole * self.limits.block_size
        for each in range(self.limits.block_size):
            left -= self._phases[-(self._tick + each) % self.limits.block_size]
            if left < 0:
                break
            steps += 1
        return steps

    # a step of its own

    def _step(self) -> None:
        """One step, as the scheduler fills it."""
        chunks, decoding = self._plan()
        if not chunks and not decoding.requests:  # nothing ran that it had to be planned beside
            self._learn()
            chunks, decoding = self._plan()
        self._peak_blocks = max(self._peak_blocks, self.limits.blocks - self._free)
        self._learn()
        self._most_running = max(self._most_running, len(self._decoding) + len(chunks))
        parts = [Chunk(request.computed, new, request.kind) for request, new in chunks]
        self._pass(self.times.step(parts, decoding), 1)
        if decoding.requests:
            self._decoded(1)
        for request, new in chunks:
            request.computed += new
            if request.computed < request.known:
                self._cut = request
            else:
                self._yielded(request)

    def _in_step(self) -> Decoding:
        """Those that decode in the next step."""
        while self._contexts:
            shorter, _, request = self._contexts[0]
            if request in self._decoding and request.computed == -shorter:
                return Decoding(len(self._decoding), self._context, self._tick - shorter)
            heapq.heappop(self._contexts)
        return NOBODY

    def _plan(self) -> tuple[list[tuple[Request, int]], Decoding]:
        """Prompts of the next step, each with its new positions, and those that decode in it; all have their blocks."""
        if self.limits.prompts_first:
            chunks = self._prompts(self.limits.max_num_batched_tokens, others=True)
            if chunks:
                return chunks, NOBODY
        preempted = self._make_room()
        decoding = self._in_step()
        self._free -= self._phases[self._phase()]
        if self.limits.prompts_first:
            return [], decoding
        return self._prompts(self.limits.max_num_batched_tokens - decoding.requests, others=not preempted), decoding

    def _prompts(self, budget: int, *, others: bool) -> list[tuple[Request, int]]:
        """The prompt that was cut, and `others` that wait, as far as the step's tokens go."""
        chunks: list[tuple[Request, int]] = []
        if self._cut is not None and budget > 0:
            request, self._cut = self._cut, None
            new = min(request.known - request.computed, budget)
            if self._allocate(request, new):
                chunks.append((request, new))
                budget -= new
            else:
                self._put_back(request)
                others = False
        if others:
            self._schedule(budget, chunks)
        return chunks

    def _schedule(self, budget: int, chunks: list[tuple[Request, int]]) -> None:
        """Those that wait, first come first served, as far as the step goes."""
        most = self.limits.encoder_tokens or self.limits.max_num_batched_tokens
        encoder = most
        places = self.limits.max_num_seqs - len(self._decoding) - self._ended
        while self.waiting and budget > 0 and len(chunks) < places:
            request = self.waiting[0]
            images = 0 if request.preemptions else request.images  # what was encoded once is kept
            new = min(request.known, budget)
            if (images > encoder and encoder < most) or not self._allocate(request, new):
                return
            self.waiting.popleft()
            if request.scheduled_s is None:
                request.scheduled_s = self.now
            chunks.append((request, new))
            budget, encoder = budget - new, encoder - images

    def _make_room(self) -> bool:
        """Put requests back until there are blocks for this step of all others; whether there were any."""
        block, preempted = self._phase(), False
        while self._phases[block] > self._free:
            if self._cut is not None:
                request, self._cut = self._cut, None
            else:
                request = next(reversed(self._decoding))
                self._leave(request)
            self._put_back(request)
            preempted = True
        return preempted

    def _allocate(self, request: Request, new: int) -> bool:
        """Blocks for `new` further positions, if there are as many."""
        needed = self.limits.blocks_of(request.computed + new) - self.limits.blocks_of(request.computed)
        if needed > self._free:
            return False
        self._free -= needed
        return True

    def _put_back(self, request: Request) -> None:
        """It gives its blocks back, and is computed again before all others that wait."""
        self._free += self.limits.blocks_of(request.computed)
        request.computed = 0
        request.preemptions += 1
        self.waiting.appendleft(request)

    def _yielded(self, request: Request) -> None:
        """All that is known of a request is computed: it has a token more."""
        request.yielded += 1
        request.known += 1
        if request.first_token_s is None:
            request.first_token_s = self.now
        if request.yielded == request.outputs:
            self._end(request)
            return
        request.end = self._tick + request.outputs - request.yielded
        self._context += request.computed
        request.computed -= self._tick
        self._phases[request.computed % self.limits.block_size] += 1
        self._decoding[request] = None
        entered = next(self._entered)
        heapq.heappush(self._ends, (request.end, entered, request))
        heapq.heappush(self._contexts, (-request.computed, entered, request))

    def _leave(self, request: Request) -> None:
        """It decodes no longer."""
        del self._decoding[request]
        self._phases[request.computed % self.limits.block_size] -= 1
        steps = request.outputs - request.yielded - (request.end - self._tick)
        request.computed += self._tick
        request.yielded += steps
        request.known += steps
        request.end = -1
        self._context -= request.computed

    def _decoded(self, steps: int) -> None:
        """All that decode are so many tokens further; those that have all of them end."""
        self._tick += steps
        self._context += steps * len(self._decoding)
        self._peak_blocks = max(self._peak_blocks, self.limits.blocks - self._free)
        while self._ends and self._ends[0][0] <= self._tick:
            end, _, request = heapq.heappop(self._ends)
            if request.end == end:  # else it was put back since
                self._leave(request)
                self._end(request)

    def _end(self, request: Request) -> None:
        self._ended += 1
        self._ended_blocks += self.limits.blocks_of(request.computed)
        request.done_s = self.now
        self._done.append(request)
        self.source.done(request)

    def _pass(self, seconds: float, steps: int) -> None:
        self.now += seconds
        self._busy_s += seconds
        self._steps += steps
