"""What `hawthorn federation` writes and starts: the folder of a deployment, its files, and a rehearsal of it."""
