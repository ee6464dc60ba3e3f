"""What can be benchmarked, a module each with `measured` and `show`; what they are held against, and their page."""
