"""What autoencoders are used for besides packing, each from an archive alone or from any source.

embedding   rows to features             anomalies   rows to scores            neighbours   rows like a row
    └──────────── features: latents that an archive holds, or those of a model fitted to its rows
"""
