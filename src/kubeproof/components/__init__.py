"""Components: from a pin in ``components/components.yml`` to verified files in the cache and the inventory's lock."""
