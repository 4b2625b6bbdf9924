"""Visual place recognition with NetVLAD: arrays, tensors and models below the stages."""
