"""Chaos: breaks an installation under load; no event may be lost or doubled.

What is broken when is drawn from a seed (``schedule``); how each thing is broken and healed is in
``process_faults``, ``moment_faults`` and ``server_faults``; ``driving`` does it to an ``installation`` while ``load``
sends events; ``proof`` compares PostgreSQL with what was acknowledged, and ``report`` says it.
"""
