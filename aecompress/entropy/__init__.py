"""Symbols to payload and back: tokens, frequency tables and interleaved rANS."""
