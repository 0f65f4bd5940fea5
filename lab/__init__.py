"""A whole site and its SaaS on one machine, from the files that an operator copies."""
