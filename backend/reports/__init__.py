"""``nextlabel report``: what a project has reached so far, as far as that can honestly be said.

``project_data`` reads the store, ``against_random`` fits what is made here alone, ``project`` puts all together, and
``project_page`` shows it. Nothing here writes to the store, and nothing that is fitted here is kept or used: the audit
slice stays what no model in use has learned from. ``page`` and ``plots`` are the kit of all pages, those of
``nextlabel evaluate`` and ``nextlabel simulate`` among them.
"""
