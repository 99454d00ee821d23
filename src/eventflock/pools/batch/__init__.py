"""What all batch systems share: waves, following them, answering for jobs, the state of the queue.

A batch system is built on it in a folder of its own, see `system.BatchSystem`.
"""
