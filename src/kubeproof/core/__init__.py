"""What has no opinion on clusters: programs, files, units of measure, the terminal, this machine's own packages."""
