//! Printing a graph: text, JSON and Graphviz dot.
