"""Scripts for other libraries, with another import: :mod:`stepfn.compat.inseq`, :mod:`stepfn.compat.minicons`."""
