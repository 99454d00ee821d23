# /// script
# dependencies = ["numba"]
# ///
"""numba with the threads of OpenMP, whose library is the machine's."""

import numba
import numpy as np

import eventflock as ef

numba.config.THREADING_LAYER = "omp"


@numba.njit(parallel=True)
def total(x):
    s = 0.0
    for i in numba.prange(len(x)):
        s += x[i]
    return s


@ef.analysis(tree="TTbar_14TeV_MU80/mytree")
def omp(events):
    return {"sum": float(total(np.arange(len(events), dtype="float64")))}
