"""Joint fits: how a fit runs alone or together with others, and how the epochs of several are run as one."""
