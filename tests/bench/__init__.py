"""Ratios measured side by side in one run: ``python -m tests.bench [NAME …]`` or ``./dev bench``.

Times on a shared machine mean little; what is printed are ratios between contestants that ran in turns, posting the same
signed messages to the same receiver, each in processes of its own.
"""
