"""``nextlabel report``: what a project has reached so far, as far as that can honestly be said.

``gathering`` reads the store, ``agreement`` and ``reference`` hold the figures that are made here alone, ``building``
puts all together, ``page`` and ``album`` show it. Nothing here writes to the store, and nothing that is fitted here is
kept or used: the audit slice stays what no model in use has learned from.
"""
