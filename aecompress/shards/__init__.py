"""The archive on disk: blocks in, checked files out, and back.

    Block → writer → part (Parquet) → staging → ARCHIVE/_manifest.json
    Block ← reader ← part (Parquet) ←──────────── manifest

Nothing is imported here, so that reading a manifest does not load pyarrow.
"""
