"""The scheduler as a plain loop over steps: every request in a list, nothing summed and nothing skipped.

It is written from the rules in `modelmeter.simulation.scheduler` alone, and shares no code with it but the requests.
"""

from __future__ import annotations

from collections import deque

from modelmeter.simulation.scheduler import Chunk, Decoding, Limits, Request, Source, StepTimes


def blocks(tokens: int, size: int) -> int:
    return (tokens + size - 1) // size


def serve(limits: Limits, times: StepTimes, source: Source) -> list[Request]:
    """All requests as they ended, by number."""
    now = 0.0
    waiting: deque[Request] = deque()
    running: list[Request] = []
    held: dict[int, int] = {}
    through: set[int] = set()  # requests whose prompt is computed
    ended: list[Request] = []
    begun = now  # the last step, which is when the next one was planned
    gone: list[int] = []  # blocks of each request that ended with the last step
    while True:
        unseen: list[Request] = []
        for request in source.take(now):
            request.known = request.prompt
            assert request.ready_s is not None
            seen = not limits.async_scheduling or request.ready_s <= begun
            (waiting if seen else unseen).append(request)
        if not limits.async_scheduling:
            gone = []
        plan = planned(limits, now, waiting, running, held, through, gone)
        if not plan:  # nothing ran beside which it was planned: it is planned now
            waiting.extend(unseen)
            unseen, gone = [], []
            plan = planned(limits, now, waiting, running, held, through, gone)
        if not plan:
            following = source.next_ready()
            if following is None:
                return sorted(ended, key=lambda each: each.number)
            now = begun = max(now, following)
            continue
        waiting.extend(unseen)
        gone = []
        begun = now
        decode = [request for request, _ in plan if request.number in through]
        chunks = [Chunk(request.computed, new, request.kind) for request, new in plan if request not in decode]
        contexts = [request.computed for request in decode]
        now += times.step(chunks, Decoding(len(decode), sum(contexts), max(contexts, default=0)))
        for request, new in plan:
            request.computed += new
            if request.computed < request.known:
                continue
            through.add(request.number)
            request.known += 1
            request.yielded += 1
            request.first_token_s = now if request.first_token_s is None else request.first_token_s
            if request.yielded == request.outputs:
                request.done_s = now
                running.remove(request)
                gone.append(held.pop(request.number))
                ended.append(request)
                source.done(request)


def planned(
    limits: Limits,
    now: float,
    waiting: deque[Request],
    running: list[Request],
    held: dict[int, int],
    through: set[int],
    gone: list[int],
) -> list[tuple[Request, int]]:
    """Who is in the next step, with how many positions; those that have just ended still hold places and blocks."""
    budget = limits.max_num_batched_tokens
    plan: list[tuple[Request, int]] = []
    put_back = False
    place = 0
    pool = limits.blocks - sum(gone)
    if limits.prompts_first:
        for request in [each for each in running if each.number not in through]:
            new = min(request.known - request.computed, budget)
            needed = blocks(request.computed + new, limits.block_size)
            if needed - held[request.number] <= pool - sum(held.values()):
                held[request.number] = needed
                plan.append((request, new))
                budget -= new
            else:
                running.remove(request)
                held.pop(request.number)
                request.computed = 0
                request.preemptions += 1
                waiting.appendleft(request)
                put_back = True
        taken(limits, now, waiting, running, held, gone, plan, 0 if put_back else budget)
        if plan:
            return plan
        put_back = True  # nobody is taken beside those that decode
    while place < len(running) and budget > 0:
        request = running[place]
        new = min(request.known - request.computed, budget)
        needed = blocks(request.computed + new, limits.block_size)
        while request in running and needed - held[request.number] > pool - sum(held.values()):
            last = running.pop()
            held.pop(last.number)
            through.discard(last.number)
            last.computed = 0
            last.preemptions += 1
            waiting.appendleft(last)
            put_back = True
        if request not in running:
            break
        held[request.number] = needed
        plan.append((request, new))
        budget -= new
        place += 1
    taken(limits, now, waiting, running, held, gone, plan, 0 if put_back else budget)
    return plan


def taken(
    limits: Limits,
    now: float,
    waiting: deque[Request],
    running: list[Request],
    held: dict[int, int],
    gone: list[int],
    plan: list[tuple[Request, int]],
    budget: int,
) -> None:
    """Those that wait, as far as the budget goes: into what runs and into the plan."""
    pool = limits.blocks - sum(gone)
    most = encoder = limits.encoder_tokens or limits.max_num_batched_tokens
    while waiting and budget > 0 and len(running) + len(gone) < limits.max_num_seqs:
        request = waiting[0]
        images = 0 if request.preemptions else request.images
        new = min(request.known, budget)
        needed = blocks(new, limits.block_size)
        if (images > encoder and encoder < most) or needed > pool - sum(held.values()):
            break
        waiting.popleft()
        running.append(request)
        held[request.number] = needed
        if request.scheduled_s is None:
            request.scheduled_s = now
        plan.append((request, new))
        budget -= new
        encoder -= images
