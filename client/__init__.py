"""The client's side of a federation: tasks, local training, the Flower ClientApp, and what hostile clients do."""
