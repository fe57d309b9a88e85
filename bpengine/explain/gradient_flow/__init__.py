"""How gradients flow through a network.

sensitivity  every parameter's partial derivative, ranked
health       dead and saturated units, vanishing and exploding layers
"""
