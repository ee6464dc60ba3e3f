"""The commands of `hawthorn audit` that judge again, explain and verify."""
