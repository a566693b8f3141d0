"""The documents of a verification: the page, and JUnit XML."""
