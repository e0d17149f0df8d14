-- The settings hold again for this owner.
DELETE FROM quotas
WHERE owner = %(owner)s
