"""Where questions are answered and jobs run: the two roles, the table of pools, and each pool.

Workers answer questions on this machine; an executor does the jobs of one run (`roles`). A pool is
one entry of the table in `table`. A batch system is one folder here, built on `batch`. Uses
`packing`, and what is below it.
"""
