"""Tests of the playground: what it computes, its server, and its page in a browser."""
