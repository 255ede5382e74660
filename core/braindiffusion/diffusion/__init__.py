"""The mathematics of diffusion, in the coordinates (alpha, sigma): `x = alpha * x0 + sigma * noise`.

    path.py       NoisePath, Node and the grids of nodes: the only place that knows noise schedules
    denoise.py    Denoiser: (x, Node, Cond) -> x0, and what a network's raw output means
    covariate.py  Covariate: one condition with its unit and range (imports no torch)
    cond.py       Cond: the conditions of a batch, with a null for each of them
    noise.py      noise by seed: the same seed gives the same noise in any batch
    solve.py      generators that walk a grid: dpmpp2m, ddim, ancestral and invert

Variance preserving, variance exploding, EDM and rectified flow are the same code here, because nothing
divides by alpha: rectified flow starts at alpha = 0, where the ratio sigma / alpha is infinite.
"""
