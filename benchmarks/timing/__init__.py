"""How far times of kernels, as devices' files give them, are from published and from our own measurements."""
