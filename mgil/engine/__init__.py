"""What every task shares: training, evaluation, prediction, export."""
