"""The least time of a step on this machine: cost counts its operations and bytes, roofline measures the machine."""
