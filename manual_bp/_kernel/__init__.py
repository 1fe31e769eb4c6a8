"""The fused kernel: cost and gradient in one program of the GPU. It has been compiled for GPUs and emulated; it has never run on one."""
