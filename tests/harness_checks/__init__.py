"""The instruments' own tests: each shows that its instrument can find or do what it is for."""
