"""The layers in plain NumPy, forward and backward: what the networks' layers are held against.

A function returns its output and the function that carries a gradient back:

    y, back = affine(x, weights, bias)
    dx, dweights, dbias = back(dy)

`dy` is the gradient of a loss with regard to `y`; what comes back, that with regard to each
argument. Written to be read beside a textbook, and in loops where these say more: for sizes of
tests, not of photos. Shapes as everywhere here, channels last: [B, H, W, C] or [B, T, C], kernels
[*kernel_size, C / groups, filters].
"""
