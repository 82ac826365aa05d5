"""The console: pages for operators, in a process of their own that talks to the HTTP API and to nothing else."""
