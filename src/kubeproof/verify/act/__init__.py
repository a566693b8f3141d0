"""What tests do to a cluster: pods, traffic, accounts, outages."""
