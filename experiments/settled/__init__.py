"""Disputes of trainers' issue threads, each settled by exact numbers: see `disputes.py`."""

from settled import baselines, lengths, scales, spans

ROOMS = (scales, lengths, baselines, spans)
