"""The load generator, a module a step.

Plan events (``generate``), write them for the wire (``wire``), send them (``send``, over ``targets``), prove
that PostgreSQL holds exactly what they mean (``verify``), and say it (``report``).
"""
