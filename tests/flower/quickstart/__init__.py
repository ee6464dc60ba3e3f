"""An app in the shape of Flower's quickstarts, before anybody has heard of Hawthorn."""
