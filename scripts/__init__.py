"""The commands of the `hawthorn` program, one file each, and what the simulation is made of."""
