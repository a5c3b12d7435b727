"""The link between devices of one kind: how long collectives over it take, and the least that they can.

A message is what every device has in the end: the sum of an all-reduce, the whole of an all-gather, in bytes; n devices
take part. A ring passes 2 (n - 1) / n of an all-reduce's message over each device's link, one way, and (n - 1) / n of
an all-gather's (`link_bytes`). Nothing passes less, but where a switch adds messages on their way (NVLS, from NVLink 4
on), so that an all-reduce's passes once: behind one that is the least (`least_link_bytes`). Times are those of kernels
alone, in types of 16 bits, vLLM's in a CUDA graph; what an eager host takes to launch them is the host's
(`stage_time`).

all_reduce, as vLLM has it (vllm/distributed/device_communicators/custom_all_reduce.py and csrc/custom_all_reduce.cuh,
0.14 to 0.24): its own kernel below `OWN_BYTES`, for 2, 4, 6 or 8 devices that reach each other directly, and for two
that read each other's memory over PCIe; NCCL otherwise.

- Its own kernel, in one stage: every device reads the messages of all others, n - 1 of them, at `own_bandwidth` of the
  link, after `own_s`. In two stages each sums its part and reads the others': a ring's bytes, and `stage_s` more. Two
  devices take one stage, more take two from `TWO_STAGES_BYTES` on.
- NCCL, as its own tuning has it: the quicker of two protocols, for short messages at `short_bandwidth` of the link, for
  long ones at `bandwidth` of it, but `long_s` later; both after `overhead_s`, and `hop_s` for each device beyond two.

all_gather: NCCL.

More than two devices over PCIe slow each other, and by how much is the host's, not the card's. Known are two hosts
that hardly do, 6 RTX 4090 at 24.6 of 32 GB/s and 8 RTX 5090 at 45 of 64 (READMEs of tinygrad's and aikitoria's
open-gpu-kernel-modules), and one whose rate falls nearly as the square of n / 2, 2, 4, 8 L40S at 20.1, 5.2, 1.4 GB/s
(ai-dynamo/aiconfigurator). It is taken to fall as (n / 2)^`CROWDING`, half way; a stage's interval spans both ends.

Left out: several hosts; NVLink bridges of two cards, which no data sheet counts as standard; the copy of an eager
all-reduce into the kernel's buffer (of 4 MiB on an H100: 7 us).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Final

from modelmeter import kernel_classes as classes
from modelmeter.devices.arithmetic import smaller_of
from modelmeter.kinds import Choice, Maybe, Number, Record, Text, Whole

#: kinds of links: devices reach each other beside the host (NVLink, Infinity Fabric); over PCIe, reading each other's
#: memory; over PCIe by way of the host's memory, as drivers have it for GeForce cards
DIRECT: Final = "direct"
PEER: Final = "peer"
HOST: Final = "host"
LINKS: Final = (DIRECT, PEER, HOST)

#: messages of vLLM's own kernel are below this (max_size of CustomAllreduce), and numbers of devices no larger
OWN_BYTES: Final = 2**23
OWN_DEVICES: Final = 8
#: and take two stages from this on: of up to four devices, and of more
TWO_STAGES_BYTES: Final = (2**19, 2**18)
#: by which power of n / 2 the rate of n devices over PCIe is taken to fall, and by which at most
CROWDING: Final = 1.0
CROWDING_MOST: Final = 2.0
#: how often a ring passes (n - 1) / n of a message
_ROUNDS: Final[Mapping[str, int]] = MappingProxyType({classes.ALL_REDUCE: 2, classes.ALL_GATHER: 1})


@dataclass(frozen=True, kw_only=True)
class Link:
    """What connects a device with others of its kind.

    kind: of `LINKS`. bandwidth_bytes_per_s: one way, as published. peers: how many others have a link of their own,
    each of this bandwidth; 1: all share one, behind a switch or over PCIe.
    """

    name: str
    kind: str
    bandwidth_bytes_per_s: Fraction
    peers: int

    def used(self, ranks: Any) -> Any:
        """How many links a device sends over where `ranks` devices take part; numbers or arrays."""
        return smaller_of(self.peers, ranks - 1)


#: what a device's file may have under `link`
LINK: Final = Record(
    {
        "name": Text(64, least=1),
        "kind": Choice(LINKS),
        "bandwidth_bytes_per_s": Number(Fraction(1), Fraction(10**24)),
        "peers": Maybe(Whole(1, 1000)),
    },
    "a link",
    missing="add it with its source (no figure is guessed)",
)


def read_link(content: Mapping[str, Any] | None) -> Link | None:
    """A device's link, from what `LINK` has read."""
    if content is None:
        return None
    return Link(
        name=content["name"],
        kind=content["kind"],
        bandwidth_bytes_per_s=content["bandwidth_bytes_per_s"],
        peers=content["peers"] or 1,
    )


def link_content(link: Link) -> dict[str, Any]:
    """A link as a device's file has it."""
    return {**vars(link), "bandwidth_bytes_per_s": float(link.bandwidth_bytes_per_s)}


def link_bytes(kernel_class: str, link: Link, *, message_bytes: Any, ranks: Any) -> Any:
    """The bytes that a device of a ring sends over each of its links; numbers or arrays."""
    return _ROUNDS[kernel_class] * (ranks - 1) * message_bytes / (ranks * link.used(ranks))


def least_link_bytes(kernel_class: str, link: Link, *, message_bytes: Any, ranks: Any) -> Any:
    """The bytes that a device sends over each of its links, whatever code runs; numbers or arrays."""
    of_a_ring = link_bytes(kernel_class, link, message_bytes=message_bytes, ranks=ranks)
    switched = link.kind == DIRECT and link.peers == 1
    return smaller_of(of_a_ring, message_bytes) if switched else of_a_ring


# -- times ----------------------------------------------------------------------------------------------------------
# Numbers or arrays, as in `kernel_time`.


def all_reduce_seconds(
    values: Mapping[str, float],
    link: Link,
    *,
    message_bytes: Any,
    ranks: Any,
    own: Any = None,
    crowding: float = CROWDING,
) -> Any:
    """The sum of n messages, on each device. own: 1: by vLLM's own kernel, 0: by NCCL; None: as vLLM chooses."""
    if own is None:
        own = by_own_kernel(link, message_bytes, ranks)
    ring = _ring_seconds(classes.ALL_REDUCE, values, link, message_bytes, ranks, crowding)
    return own * _own_seconds(values, link, message_bytes, ranks) + (1 - own) * ring


def all_gather_seconds(
    values: Mapping[str, float], link: Link, *, message_bytes: Any, ranks: Any, crowding: float = CROWDING
) -> Any:
    """All parts of a message side by side, on each device."""
    return _ring_seconds(classes.ALL_GATHER, values, link, message_bytes, ranks, crowding)


def by_own_kernel(link: Link, message_bytes: Any, ranks: Any) -> Any:
    """Whether vLLM takes its own kernel for an all-reduce; numbers or arrays."""
    several = (ranks % 2 == 0) * (ranks <= OWN_DEVICES) if link.kind == DIRECT else ranks == 2
    return several * (message_bytes < OWN_BYTES) * (link.kind != HOST)


def _own_seconds(values: Mapping[str, float], link: Link, message_bytes: Any, ranks: Any) -> Any:
    few, many = TWO_STAGES_BYTES
    two = (ranks > 2) * (message_bytes >= few + (ranks > 4) * (many - few))
    reads = (ranks - 1) * (1 - two) + 2 * (ranks - 1) / ranks * two
    rate = values["own_bandwidth"] * float(link.bandwidth_bytes_per_s) * link.used(ranks)
    return values["own_s"] + values["stage_s"] * two + reads * message_bytes / rate


def _ring_seconds(
    kernel_class: str, values: Mapping[str, float], link: Link, message_bytes: Any, ranks: Any, crowding: float
) -> Any:
    crowded = 1.0 if link.kind == DIRECT else (ranks / 2) ** crowding
    passed = crowded * link_bytes(kernel_class, link, message_bytes=message_bytes, ranks=ranks)
    whole = passed / float(link.bandwidth_bytes_per_s)
    begin = values["overhead_s"] + values["hop_s"] * (ranks - 2)
    return begin + smaller_of(whole / values["short_bandwidth"], values["long_s"] + whole / values["bandwidth"])
