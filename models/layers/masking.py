"""Padding that takes no part: what stands behind a text's end is zero, wherever it is read."""

from keras import ops


def masked(x, mask):
    """x where the mask holds, 0 elsewhere; None holds everywhere.  [B, T, C], mask [B, T] -> x's

    Before a convolution with padding "same" it makes a text's scores those of the text alone:
    beyond its end, its neighbours' length is as good as zeros.
    """
    return x if mask is None else ops.where(ops.expand_dims(mask, -1), x, 0.0)
