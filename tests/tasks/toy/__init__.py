"""A task of its own, outside the project: the mean colour of a picture, learnt by some 500 parameters."""
