"""Settings that held-out answers like best, and an honest figure of what the search for them brought.

``space`` is what may be set, ``study`` the search on some labels, ``nested`` searches once per outer fold and measures
what was found on texts that its search has never seen.
"""
