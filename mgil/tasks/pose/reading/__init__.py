"""Reading people and their key points in each form that data sets come in."""
