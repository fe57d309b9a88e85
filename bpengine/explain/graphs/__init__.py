"""The computational graph of a step.

build        graph(): from a trace
elements     nodes and edges
graph        Graph: DOT, Mermaid, SVG
dot_mermaid  the two text formats
svg, svg_layout, svg_routes  the picture: boxes, their positions, the corners of edges
"""
