"""``questline doctor``: examines an installation, with advice for each finding.

A check is a small function with a name (``registry``); the files named after what they look at hold them. Each is run
on its own (``examination``), so a server that is away costs only the checks that need it.
"""
