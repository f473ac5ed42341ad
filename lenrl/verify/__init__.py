"""Verdicts on completions: extract the answer, compare it with the gold one, in killable workers.

Light on purpose: a worker imports this package and must load neither torch nor pydantic.
"""
