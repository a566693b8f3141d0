"""Certificate authorities, and the credentials that are issued by them on the controller."""
