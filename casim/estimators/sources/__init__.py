"""Whole mechanisms: what credit is made from."""
