"""CAs, and the credentials that they issue on the controller."""
