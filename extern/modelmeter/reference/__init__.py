"""Measurements of the real PyTorch modules, without weights and, but for times, without a GPU; only this part imports
torch.

What one value here means: what a real module was seen to do, operator by operator.

| question | instrument |
|---|---|
| how many FLOPs, in which module | `flops.measure_flops` |
| how many bytes are alive, when and whose | `memory.LiveSet` |
| how many bytes move, through which operator | `traffic.TrafficMeter` |
| how many elements operators work through outside GEMMs | `elements.ElementCount` |
| all of one module's figures | `layer.measure_layer` |
| what a GPU's attention kernel would allocate | `fused_attention.FusedAttention` |
| what a copy to the host leaves on the device, where a CPU stands for it | `host_copies.HostCopies` |
| how a device adds a bias that it cannot fuse | `in_place_bias.InPlaceBias` |
| which modules ran, on tensors of which shapes | `module_calls.ModuleCalls` |
| which modules are measured as one model | `whole_page`; what each model is, its own package says |
| what one line of a comparison of layers is | `layer_case` |
| how far analytic and measured figures are apart | `comparison` |
| how long the same code takes on a machine, with real tensors | `timing`, `kernels`, `real_page` |
| how long each kernel shape takes, from memory, eager and in a CUDA graph | `kernel_table` |

Import the modules directly (`from modelmeter.reference.flops import measure_flops`): this file imports
nothing, so that asking for one instrument does not load another's dependencies.
"""
