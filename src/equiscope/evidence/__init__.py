"""Evidence for families that did not find them: drawings, weights, other networks, optimised images."""
