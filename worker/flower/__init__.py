"""Flower, guarded and over our connections."""
