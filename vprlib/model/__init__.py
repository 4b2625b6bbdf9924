"""Networks that describe images: backbones, pools, their files, device and precision."""
