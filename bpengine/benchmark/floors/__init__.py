"""What a step takes at least on this machine: cost counts its operations and bytes, roofline measures the machine."""
