"""Progress against the event log: ``questline audit``, ``reconcile``, ``replay``.

The log is replayed through the reference engine (``replaying``). The audit compares what comes out with what
PostgreSQL holds (``stored``, ``comparing``, ``auditing``). Reconciling looks closer at who differs (``examining``) and
repairs it (``reconciling``); the replay writes it into a schema of its own (``sandbox``).
"""
