"""What pytest leaves alone."""

collect_ignore = ["make_compat_golden.py", "make_signatures.py"]
