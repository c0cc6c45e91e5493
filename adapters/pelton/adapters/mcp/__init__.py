"""Tools over the Model Context Protocol: for agents at work, for agents outside, for operators."""
