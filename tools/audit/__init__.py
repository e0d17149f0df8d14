"""Progress against the event log: ``questline audit``, ``reconcile``, ``replay``.

The comparison itself is in ``tasks/audit``. ``examination`` finds what is wrong with single users on a running product,
``reconciliation`` repairs it, and ``recomputation`` writes progress computed anew into a ``sandbox``.
"""
