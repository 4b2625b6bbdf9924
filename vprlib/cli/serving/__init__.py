"""The command `vpr serve`: a service that says where photographs were taken."""
