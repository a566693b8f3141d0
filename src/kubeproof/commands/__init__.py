"""The commands of the command line, one module each: ``add_parser`` describes it and ``run`` does it."""
