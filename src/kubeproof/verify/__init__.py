"""The verifier: proof, claim by claim, that a running cluster behaves as the architecture says."""
