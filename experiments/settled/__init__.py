"""Disputes of trainers' issue threads, each settled by exact numbers: see `disputes.py`."""

from settled import baselines, scales, spans

ROOMS = (scales, baselines, spans)
