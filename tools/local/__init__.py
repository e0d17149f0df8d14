"""`questline up`: the product and its servers on this machine."""
