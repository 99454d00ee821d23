"""Slurm as a batch system: job arrays on nodes that share a disk with this machine."""
