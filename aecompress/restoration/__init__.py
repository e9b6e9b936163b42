"""What a value should be, told from what lies around it: the network behind ``denoise`` and ``colorize``.

    block ─ units ─ view ─ neighbourhood of each position ─ network ─► a guess, and how sure it is

Works in floating point on whole arrays and has no part in archives.
"""
