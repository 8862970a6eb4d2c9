"""Background work: who does the jobs, in a process of its own or inside the web process."""
