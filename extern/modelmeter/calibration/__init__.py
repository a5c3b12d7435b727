"""From times on a machine to a device description, and predicted beside measured times; free of torch.

| question | module |
|---|---|
| which GEMMs does a page need, and how often | `products` |
| which device do these times show | `fit` |
| how is that device written down | `device_file` |
| which constants of kernels do tables show | `kernel_tables`, `kernel_measured`, `kernel_fit`, `kernel_file` |
| what did the roofline predict, and what was measured | `validation` |

What takes the times is in `modelmeter.reference` (timing, kernels, real_page).
"""
