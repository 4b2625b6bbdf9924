"""The command `vpr serve`: a service that says where photographs were taken."""

import os

# read when OpenMP is loaded: the threads of PyTorch and of Faiss would else wait for work by
# spinning, each on the cores that the other needs, which makes a photograph cost 20 times as much
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
