"""Chaos: breaks an installation under load; no event may be lost or doubled.

``schedule`` draws the faults from a seed, ``faults`` strikes and heals each, ``driver`` executes them on an
``installation`` while ``load`` sends events; ``proof`` compares PostgreSQL with what was acknowledged, and ``report``
shows it.
"""
