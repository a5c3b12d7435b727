"""What the references of models share that are built of the same blocks; they import torch."""
