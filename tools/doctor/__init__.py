"""``questline doctor``: looks at every part of an installation and says what to do about what it finds.

A check is a small function with a name (``registry``); the files named after what they look at hold them. Each is run
on its own (``examination``), so a server that is away costs only the checks that need it.
"""
