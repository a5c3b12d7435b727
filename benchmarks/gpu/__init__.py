"""Times and memory on one GPU beside the predicted ones: `make gpu`; README.md here says how.

| what | module | needs |
|---|---|---|
| shapes and predictions, written beforehand | `shapes` | the package |
| a call that runs one shape, how long it takes | `modelmeter.reference` (`kernel_table`) | torch |
| the page's shapes, and others that a model of times is fitted on | `kernels` | torch |
| stages of the real modules: times and memory | `stages` | torch, transformers 5.23, the package |
| all of it in a bounded time | `measure` | torch |
| the report and the device file | `report` | the package |
"""
